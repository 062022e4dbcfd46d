"""Atheris (coverage-guided fuzzing) on the decoder: any bytes give an array or one of our errors.

.venv/bin/pip install atheris==3.0.0        (Linux; not among the tests' requirements, 35 MB)
.venv/bin/python -m tests.torture.atheris_decoder -max_total_time=3600 -rss_limit_mb=4096 [CORPUS]

The options are libFuzzer's. Without a folder of files to begin with, it begins with small drawings of every kind.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["service", "pydicom", "PIL"]):
    from service.errors import ImageError
    from service.images.decode import decode_image

from tests.conftest import dicom_of, encode, grey


def one(data: bytes) -> None:
    try:
        decoded = decode_image(data)
    except ImageError:
        return
    assert decoded.grey.ndim == 2
    assert decoded.grey.dtype == "uint8"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        small = grey(40, 48)
        for file, content in {"x.png": encode(small), "x.jpeg": encode(small, "JPEG"), "x.dcm": dicom_of(small)}.items():
            (Path(name) / file).write_bytes(content)
        given = any(not argument.startswith("-") for argument in sys.argv[1:])
        atheris.Setup([*sys.argv, *([] if given else [name])], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

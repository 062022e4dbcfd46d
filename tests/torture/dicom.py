"""DICOM: pydicom's own test files against its own rendering, and damage in headers by the ten thousand."""

import os
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom

from service.errors import RequestError
from service.images.decode import decode_image
from tests.conftest import ROOT
from tests.service.images.reference import reference
from tests.torture import results
from tests.torture.results import Check, Findings, Outcome, checked

EXAMPLES = 20_000
FILES = Path(pydicom.__file__).parent / "data/test_files"
NO_IMAGES = {".py", ".txt", ".md", ".json", ".xml", ".zip", ".gz", ".jpg", ".bin"}
# Most of them are of other modalities, which would be all that is said: Modality is set to DX, in explicit and implicit files.
_MODALITY = re.compile(rb"(\x08\x00\x60\x00....|\x00\x08\x00\x60....)(?:MR|CT|US|NM|RT|OT|XA)", re.DOTALL)


def run() -> Findings:
    expected = "each answered, or refused by an error that names an element; no other error"
    return [*pydicom_files(), checked(f"{EXAMPLES:,} damaged headers, by Hypothesis", expected, damaged_headers)]


def pydicom_files() -> list[Check]:
    """A row for each file that is answered, and one for each reason of refusal."""
    answered, refused = list[Check](), defaultdict[str, list[str]](list)
    expected = "what pydicom shows, within one level, or a warning"
    for path in sorted(path for path in FILES.rglob("*") if path.is_file() and path.suffix not in NO_IMAGES):
        data = _MODALITY.sub(rb"\1DX", path.read_bytes())
        try:
            decode_image(data)
        except RequestError as error:
            refused[str(error)].append(path.name)
            continue
        answered.append(checked(path.name, expected, lambda data=data: compared(data)))  # type: ignore[misc]  # bound at once
    rows = [
        checked(f"{len(names)} files: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}", "refused", (True, reason))
        for reason, names in sorted(refused.items(), key=lambda item: -len(item[1]))
    ]
    return [*answered, *rows]


def compared(data: bytes) -> Outcome:
    found = decode_image(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shown = reference(data)
    except Exception as error:  # of pydicom's decoders, which raise what they like
        return True, f"answered; pydicom cannot decode it here ({type(error).__name__})"
    if shown.shape != found.grey.shape:
        return False, f"answered with {found.grey.shape}, shown with {shown.shape}"
    off = int(np.abs(found.grey.astype(int) - shown).max())
    return off <= 1 or bool(found.warnings), f"answered, {off} levels off at most; {len(found.warnings)} warnings"


def damaged_headers() -> Outcome:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/service/images/test_dicom_fuzz.py"]
    environment = os.environ | {"DICOM_EXAMPLES": str(EXAMPLES)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3_600, check=False)
    return done.returncode == 0, (done.stdout.strip().splitlines() or ["no output"])[-1]


if __name__ == "__main__":
    results.section(run)

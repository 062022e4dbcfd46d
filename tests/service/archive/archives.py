"""What the tests of `python -m service predict` share."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from PIL import Image

from tests.conftest import DEFAULT_MODEL, ROOT, encode

Rows: TypeAlias = list[dict[str, Any]]  # Any: of all kinds of columns


class Done(NamedTuple):
    code: object
    stdout: str
    stderr: str


Predict: TypeAlias = Callable[..., Done]


def command(images: object, out: Path, *options: object) -> list[str]:
    """With one worker, that is, without further processes, unless `options` have more."""
    return [
        sys.executable,
        "-m",
        "service",
        "predict",
        str(images),
        "--out",
        str(out),
        "--workers",
        "1",
        *map(str, options),
    ]


@contextlib.contextmanager
def begun(images: Path, out: Path, lines: int, *options: object) -> "Iterator[subprocess.Popen[str]]":
    """A process that has written so many lines of its part, and is at a file that takes it a second. Killed at the end, and
    that file removed."""
    slow = images / "zz.png"
    slow.write_bytes(encode(Image.new("RGBA", (6300, 6300)), compress_level=1))
    environment = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)}
    process = subprocess.Popen(
        command(images, out, *options),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal can reach all of its processes, as from a terminal
    )
    with process:
        while not part_of(out).exists() or part_of(out).read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()
        yield process
        process.kill()
    slow.unlink()


def part_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def read(out: Path) -> Rows:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

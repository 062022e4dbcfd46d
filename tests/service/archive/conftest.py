"""An archive of forty images, and `python -m service predict` on it, in this process or in one that can be stopped."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from PIL import Image

from service import __main__
from tests.conftest import DEFAULT_MODEL, ROOT, encode, grey

ENVIRONMENT = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)}


class Done(NamedTuple):
    code: object
    stdout: str
    stderr: str


Predict: TypeAlias = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(encode(grey(64, 64, number)))
    return folder


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    """The command, in this process."""

    def run(images: object, out: Path, *options: object, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", command(images, out, *options)[2:])
            for name, value in {"MEDXFER_MODEL": str(DEFAULT_MODEL), **settings}.items():
                patch.setenv(name, value)
            try:
                code: object = __main__.main()
            except SystemExit as end:
                code = end.code
        return Done(code, *capsys.readouterr())

    return run


def command(images: object, out: Path, *options: object) -> list[str]:
    """With one worker, and so without further processes, unless `options` say otherwise."""
    words = ["predict", images, "--out", out, "--workers", 1, *options]
    return [sys.executable, "-m", "service", *map(str, words)]


@contextlib.contextmanager
def interrupted(images: Path, out: Path, lines: int, *options: object) -> "Iterator[subprocess.Popen[str]]":
    """A process that has written so many lines of its journal, and still has images to decode that take it many seconds. At the
    end it is killed, and these images are removed."""
    slow = [images / f"zz{number:02}.png" for number in range(40)]
    slow[0].write_bytes(slow_image())
    for path in slow[1:]:
        path.hardlink_to(slow[0])
    with subprocess.Popen(
        command(images, out, *options),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal can reach all of its processes, as from a terminal
    ) as process:
        while not journal_of(out).exists() or journal_of(out).read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        yield process
        process.kill()
    for path in slow:
        path.unlink()


@functools.cache
def slow_image() -> bytes:
    return encode(Image.new("RGBA", (6300, 6300)), compress_level=1)


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def read(out: Path) -> list[dict[str, Any]]:  # Any: the values of a row
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

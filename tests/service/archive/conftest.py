"""An archive of forty images, and `python -m service predict` on it, in this process or in one that can be stopped."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any, TypeAlias

import pytest

from service import __main__
from tests.conftest import DEFAULT_MODEL, ROOT, encode, grey
from tests.service.http.helpers import slow_image

ENVIRONMENT = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)}
Predict: TypeAlias = Callable[..., "CompletedProcess[str]"]


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "archive", {f"{number:02}.png": encode(grey(64, 64, number)) for number in range(40)})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    def run(images: object, out: Path, *options: object, **settings: str) -> "CompletedProcess[str]":
        line = command(images, out, *options)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", line[2:])
            for name, value in {"MEDXFER_MODEL": str(DEFAULT_MODEL), **settings}.items():
                patch.setenv(name, value)
            try:
                code: Any = __main__.main()
            except SystemExit as end:
                code = end.code
        return CompletedProcess(line, code, *capsys.readouterr())

    return run


def command(images: object, out: Path, *options: object) -> list[str]:
    """With one worker, and so without further processes, unless `options` say otherwise."""
    return [sys.executable, "-m", "service", *map(str, ["predict", images, "--out", out, "--workers", 1, *options])]


@contextlib.contextmanager
def interrupted(images: Path, out: Path, lines: int, *options: object) -> "Iterator[Popen[str]]":
    """A process with so many lines in its journal and many slow images to go. At the end, both it and they are removed."""
    (first := images / "zz.png").write_bytes(slow_image())
    for number in range(39):
        (images / f"zz{number:02}.png").hardlink_to(first)
    line = command(images, out, *options)
    # In a session of its own, so that a signal can reach all of its processes, as from a terminal.
    with Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True) as process:
        while not journal_of(out).exists() or journal_of(out).read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        yield process
        process.kill()
    for path in images.glob("zz*"):
        path.unlink()


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def read(out: Path) -> list[dict[str, Any]]:  # Any: the values of a row
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

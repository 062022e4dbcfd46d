"""For the tests of `python -m service predict`."""

import sys
from pathlib import Path

import pytest

from service import __main__
from tests.conftest import DEFAULT_MODEL, encode, grey
from tests.service.archive.archives import Done, Predict, command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images, enough to be stopped at."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(encode(grey(300, 260, number)))
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

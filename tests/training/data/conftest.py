"""Phantoms that the tests of this folder share."""

from pathlib import Path

import pytest

from training.data import layouts, phantoms
from training.data.manifest import Record


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 80)
    return folder


@pytest.fixture(scope="package")
def records(folder: Path) -> list[Record]:
    return layouts.scan(folder)

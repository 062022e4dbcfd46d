"""The manifest: what its records tell."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from training.config import Data
from training.data import manifest, splits
from training.data.manifest import DataError, Record


def test_a_manifest_reads_back(records: list[Record], tmp_path: Path) -> None:
    cut = splits.split(records, Data(), seed=0)
    manifest.write_table(cut, tmp_path / "manifest.csv")
    assert manifest.read_manifest(tmp_path / "manifest.csv") == cut


def test_an_image_that_has_changed_since_the_audit_is_not_read(folder: Path, records: list[Record]) -> None:
    assert manifest.read_image(folder, records[0]).shape == (records[0].height, records[0].width)
    with pytest.raises(DataError, match="not the image that was there when the run began"):
        manifest.read_image(folder, replace(records[0], path=records[1].path))

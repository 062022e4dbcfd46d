from pathlib import Path

import pytest

from tests.conftest import encode, grey
from training.config import Data
from training.data import layouts, manifest, phantoms, splits
from training.data.manifest import DataError, Record


def test_a_manifest_reads_back(records: list[Record], tmp_path: Path) -> None:
    cut = splits.split(records, Data(), seed=0)
    manifest.write_table(cut, tmp_path / "manifest.csv")
    assert manifest.read_manifest(tmp_path / "manifest.csv") == cut


def test_an_image_that_has_changed_since_the_audit_is_not_read(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 2)
    record = layouts.scan(tmp_path)[0]
    assert manifest.read_image(tmp_path, record).shape == (record.height, record.width)
    (tmp_path / record.path).write_bytes(encode(grey(100, 100)))
    with pytest.raises(DataError, match="not the image that was there when the run began"):
        manifest.read_image(tmp_path, record)


def test_a_positive_label_must_be_one_of_the_labels(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"«SICK».*NORMAL.*PNEUMONIA"):
        manifest.label_names(records, "SICK")

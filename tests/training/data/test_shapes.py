"""What becomes of the folders of `shapes.py`: they are read, or refused by a message that names the mend."""

import hashlib
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.conftest import running_service
from tests.training.data.shapes import PATIENTS, SHAPES, TRAINED, Drawing, drawings
from training import config, config_files, pipeline, run_folder
from training.config import Data, data_at
from training.data import manifest, splits
from training.data.manifest import DataError, Record
from training.stages import audit


@pytest.fixture(scope="session")
def drawn() -> list[Drawing]:
    return drawings()


def data_of(name: str, folder: Path, drawn: list[Drawing]) -> Data:
    shape = SHAPES[name]
    return data_at(shape.write(folder, drawn), Data(**shape.choices))


def used(records: list[Record]) -> list[Record]:
    return [record for record in records if record.split in splits.USED]


@pytest.mark.parametrize("name", TRAINED)
def test_a_folder_is_read_in_its_shape(name: str, tmp_path: Path, drawn: list[Drawing]) -> None:
    choices = config.Config(data=data_of(name, tmp_path, drawn))
    records = audit.cut(choices)
    manifest.write_table(records, tmp_path / "manifest.csv")
    assert manifest.read_manifest(tmp_path / "manifest.csv") == records
    assert {record.label for record in records} == set(SHAPES[name].labels)
    assert len(used(records)) == len(drawn)
    assert len({record.patient for record in used(records)}) == 2 * PATIENTS
    sick = {hashlib.sha256(one.content).hexdigest(): one.sick for one in drawn}
    for record in used(records):
        assert record.positive == sick.get(record.sha256, record.path.startswith("PNEUMONIA"))  # the latter: DICOM
        assert record.label == SHAPES[name].labels[record.positive]
    left_out = {record.path.rpartition("/")[2] for record in records if record.split in splits.LEFT_OUT}
    assert left_out <= {"copy_of_it.jpeg", "damaged.png"}


@pytest.mark.parametrize("name", [name for name in SHAPES if SHAPES[name].error])
def test_a_folder_that_cannot_be_used_is_refused_with_what_was_found_and_what_would_do(
    name: str, tmp_path: Path, drawn: list[Drawing]
) -> None:
    with pytest.raises(DataError) as found:
        audit.cut(config.Config(data=data_of(name, tmp_path, drawn)))
    assert re.search(SHAPES[name].error, str(found.value), re.DOTALL)


@pytest.mark.torture
@pytest.mark.parametrize("name", TRAINED)
def test_a_folder_trains_and_serves(name: str, tmp_path: Path, drawn: list[Drawing]) -> None:
    phantom = config_files.load(Path("phantom"))
    choices = replace(phantom, data=data_of(name, tmp_path / "data", drawn), fit=replace(phantom.fit, epochs=1))
    run = run_folder.create(choices, tmp_path / "run")
    pipeline.run(choices, run, "audit")
    with running_service(model=run / "model") as client:
        answer = client.post("/predict", content=drawn[0].content).raise_for_status().json()
    assert set(answer["probabilities"]) == set(SHAPES[name].labels)

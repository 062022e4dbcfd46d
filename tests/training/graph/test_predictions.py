from pathlib import Path

import msgspec
import pytest

from service.model.artefact import Thresholds, read_artefact
from tests.conftest import DEFAULT_MODEL
from training.data.manifest import DataError
from training.graph import predictions


def test_another_threshold_is_another_model_to_the_log_but_other_figures_are_not() -> None:
    artefact = read_artefact(DEFAULT_MODEL, "fp32")
    measured = msgspec.structs.replace(artefact.description, metrics={"val": {}})
    moved = msgspec.structs.replace(artefact.description, thresholds=Thresholds(screening=0.1, balanced=0.5, rule_in=0.9))
    locks = [
        predictions.lock(msgspec.structs.replace(artefact, description=description))
        for description in (artefact.description, measured, moved)
    ]
    assert locks[0] == locks[1] != locks[2]


def test_a_reading_keeps_its_number_when_others_follow(tmp_path: Path) -> None:
    fp32, int8 = (read_artefact(DEFAULT_MODEL, variant) for variant in ("fp32", "int8"))
    for artefact in (fp32, int8):
        predictions.log_reading(tmp_path, artefact, 10)
    assert (predictions.reading(tmp_path, fp32), predictions.reading(tmp_path, int8)) == (1, 2)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("locked,split,path,probability,novelty\nabc,val,x.jpeg,0.")
    with pytest.raises(DataError, match=r"predictions\.csv is damaged"):
        predictions.read(tmp_path / "predictions.csv")

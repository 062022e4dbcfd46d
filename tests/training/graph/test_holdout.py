"""The test fold is read once for each locked model."""

import itertools
from pathlib import Path

import msgspec
import pytest

from service.model.artefact import Thresholds, read_artefact
from tests.conftest import DEFAULT_MODEL
from training.data.manifest import DataError
from training.graph import holdout

FP32, INT8 = (read_artefact(DEFAULT_MODEL, variant) for variant in ("fp32", "int8"))


def test_another_threshold_locks_another_model_but_other_figures_do_not() -> None:
    measured = msgspec.structs.replace(FP32.description, metrics={"val": {}})
    moved = msgspec.structs.replace(FP32.description, thresholds=Thresholds(screening=0.1, balanced=0.5, rule_in=0.9))
    locks = [
        holdout.lock(msgspec.structs.replace(FP32, description=description))
        for description in (FP32.description, measured, moved)
    ]
    assert locks[0] == locks[1] != locks[2]


def test_a_result_stands_and_a_reading_keeps_its_number_when_others_follow(tmp_path: Path) -> None:
    count = itertools.count(1)
    found = [holdout.read_once(tmp_path, artefact, 10, count.__next__, int) for artefact in (FP32, INT8, FP32)]
    assert found == [1, 2, 1]
    assert (holdout.number_of(tmp_path, FP32), holdout.number_of(tmp_path, INT8)) == (1, 2)


def test_a_reading_that_fails_is_logged_and_may_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        holdout.read_once(tmp_path, FP32, 10, lambda: 1 // 0, int)
    assert holdout.read_once(tmp_path, FP32, 10, lambda: 1, int) == 1
    log = msgspec.json.decode((tmp_path / holdout.READINGS).read_bytes())
    assert [reading["result"] for reading in log] == [None, 1]


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    (tmp_path / holdout.READINGS).write_text('[{"variant": "fp32", ')
    with pytest.raises(DataError, match=r"test\.json is damaged"):
        holdout.number_of(tmp_path, FP32)

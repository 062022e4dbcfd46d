import os
from pathlib import Path

import pytest

from tests.training.network.small import row
from training.data.manifest import DataError
from training.network import history
from training.network.history import Row


def rows(*altered_aurocs: float) -> list[Row]:
    return [row(epoch, auroc) for epoch, auroc in enumerate(altered_aurocs)]


def test_a_history_reads_back(tmp_path: Path) -> None:
    history.write(rows(0.5, 0.6), tmp_path)
    assert history.read(tmp_path) == rows(0.5, 0.6)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_missing_or_damaged_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file.*the stage «fit» writes it"):
        history.read(tmp_path)
    history.write(rows(0.5), tmp_path)
    os.truncate(tmp_path / "history.csv", (tmp_path / "history.csv").stat().st_size - 8)
    with pytest.raises(DataError, match=r"history\.csv cannot be read"):
        history.read(tmp_path)


def test_the_first_of_the_best_is_kept() -> None:
    assert history.best(rows(0.5, 0.7, 0.6, 0.7)).epoch == 1
    assert history.best_seed([rows(0.5, 0.6), rows(0.8, 0.1), rows(0.7, 0.7)]) == 1


@pytest.mark.parametrize(
    ("aurocs", "over"),
    [([], False), ([0.5, 0.6, 0.5], False), ([0.6, 0.5, 0.5, 0.5], True), ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], True)],
)
def test_fitting_ends_with_the_epochs_or_the_patience(aurocs: list[float], over: bool) -> None:
    assert history.is_over(rows(*aurocs), epochs=5, patience=3) == over


def test_a_line_fits_below_its_header() -> None:
    assert abs(len(history.line(row(3), is_best=False)) - len(history.HEADER.splitlines()[1])) <= 1

import csv

from training.config import Augment, Config, Data, Fit
from training.network import history
from training.stages import card
from training.tools import ablation


def test_what_a_run_changed_is_said_as_toml_would() -> None:
    first = Config(name="one", data=Data(folder="here"))
    other = Config(name="two", data=Data(folder="there"), augment=Augment(jitter=0.1), fit=Fit(epochs=3))
    assert ablation.difference(first, other) == "augment.jitter = 0.1, fit.epochs = 3"
    assert ablation.difference(first, Config(name="three")) == "–"


def test_the_table_that_is_shipped_can_be_read() -> None:
    rows = list(csv.DictReader(card.ABLATION.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["change", "seed", *history.FIGURES]
    assert all(0.5 < float(row["altered_auroc"]) <= 1 for row in rows)

"""The shipped model's card and report, generated from its own model.json, and what they are made of."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests.conftest import DEFAULT_MODEL, grey
from training import config_files
from training.config import Augment, Config, Data, Fit
from training.graph import model_folder
from training.graph.inference import Predictions
from training.network import history
from training.report import elsewhere, heatmaps, limits
from training.stages import card
from training.tools import ablation

REPORT = DEFAULT_MODEL / "report"
PAGE = (REPORT / "index.html").read_text(encoding="utf-8")


def test_card_and_report_are_what_the_description_says() -> None:
    description, sizes = model_folder.description_of(DEFAULT_MODEL), card.sizes_of(REPORT)
    assert card.render("card.md", description, sizes) == (DEFAULT_MODEL / "README.md").read_text(encoding="utf-8")
    assert card.render("report.html", description, sizes) == PAGE


def test_every_picture_is_there_none_is_left_over_and_none_comes_from_another_host() -> None:
    shown = set(re.findall(r'src="([^"]+)"', PAGE)) | set(re.findall(r'<link rel="stylesheet" href="([^"]+)"', PAGE))
    assert shown | {"index.html"} == {path.name for path in REPORT.iterdir()}
    assert sum(path.stat().st_size for path in REPORT.iterdir()) < 1_500_000
    assert not re.findall(r'(?:src|href)="(?:https?:)?//|<script', PAGE)


def test_limits_and_disclaimer_stand_before_the_first_picture() -> None:
    assert PAGE.index("Not a medical device") < PAGE.index("fell to an AUROC of 0.54") < PAGE.index("<img")


def of_other_data(**data: object) -> tuple[str, str]:
    """Card and report of the shipped model, had it learned from data of which the configuration and the names tell nothing."""
    known = model_folder.description_of(DEFAULT_MODEL)
    unknown = {"source": "", "limits": [], "files": 60, "without_patient": 60, **data}
    description = replace(known, ages=None, data={**known.data, **unknown})
    card_text, report_text = (card.render(name, description, card.sizes_of(REPORT)) for name in ("card.md", "report.html"))
    return card_text, report_text


@pytest.mark.parametrize("which", [0, 1])
def test_of_other_data_only_what_is_known_is_told(which: int) -> None:
    text = of_other_data(limits=["Only portable devices."])[which]
    others = "Kermany", "Xin, Li", "Why this recipe", "No image of these patients", "no patient and no file", "adults"
    for known_of_others in others:
        assert known_of_others not in text
    for told in ("Source and licence of the data are not known", "ages of the people are not known", "Only portable devices."):
        assert told in text
    assert "File names told no patient for 60 of 60 images" in text
    assert "Images of one person may stand in several splits" in text
    assert not re.search(r"\| patients \||>patients<|\d images of \d+ patients", text)


def test_names_that_tell_every_patient_need_no_warning_and_the_shipped_model_tells_its_source_and_ages() -> None:
    for text in of_other_data(without_patient=0):
        assert "told no patient" not in text and "no patient and no file" in text
    for text in (PAGE, (DEFAULT_MODEL / "README.md").read_text(encoding="utf-8")):
        assert "(CC BY 4.0)" in text and "The people are 1 to 5 years old." in text
    assert "Why this recipe" in PAGE


def test_what_a_calibration_warns_of_stands_on_the_card_and_in_the_report() -> None:
    description, warning = model_folder.description_of(DEFAULT_MODEL), "12 images of PNEUMONIA are too few"
    calibration = description.metrics["calibration"] | {"warnings": [warning]}
    warned = replace(description, metrics=description.metrics | {"calibration": calibration})
    for name in ("card.md", "report.html"):
        assert f"Warning: {warning}" in card.render(name, warned, card.sizes_of(REPORT))


def test_only_the_configuration_of_the_shipped_model_names_data_and_the_rest_of_it_is_the_recipe() -> None:
    for preset in ("best", "balanced", "fast"):
        assert config_files.load(Path(preset)).data == Data()
    kermany = config_files.load(Path("kermany"))
    shipped = model_folder.description_of(DEFAULT_MODEL)
    assert (kermany.data.source, kermany.data.ages) == (shipped.data["source"], shipped.ages)
    assert replace(kermany, data=Data()) == config_files.load(Path("best"))


def test_small_copies_of_radiographs_are_a_limit() -> None:
    small = {"A": {"width": [100, 200, 224], "height": [90, 200, 224]}, "B": {"width": [50, 60, 70], "height": [50, 60, 300]}}
    [limit] = limits.small_copies(small)
    assert "at most 224 × 300 pixels" in limit
    assert not limits.small_copies({**small, "C": {"width": [800, 1300, 2000], "height": [500, 900, 1500]}})


def test_what_a_run_changed_is_said_as_toml_would_and_the_table_that_is_shipped_can_be_read() -> None:
    first = Config(name="one", data=Data(folder="here"))
    other = Config(name="two", data=Data(folder="there"), augment=Augment(jitter=0.1), fit=Fit(epochs=3))
    assert ablation.difference(first, other) == "augment.jitter = 0.1, fit.epochs = 3"
    assert ablation.difference(first, Config(name="three")) == "–"
    rows = list(csv.DictReader(card.ABLATION.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["change", "seed", *history.FIGURES]
    assert all(0.5 < float(row["altered_auroc"]) <= 1 for row in rows)


def test_each_figure_would_choose_a_seed_and_an_epoch_of_its_own() -> None:
    row = history.Row(epoch=0, seconds=1, **dict.fromkeys(history.FIGURES, 0.5))
    shifted, matched = (replace(row, epoch=epoch, **{f"{name}_auroc": 0.9}) for epoch, name in ((1, "shifted"), (2, "matched")))
    histories = [[row, shifted], [row, row, matched]]
    assert [card.chosen_by(histories, f"{name}_auroc") for name in ("shifted", "matched")] == [(0, shifted), (1, matched)]
    assert "both, altered otherwise" in card.seed_aurocs(histories)
    assert "both, altered otherwise" not in card.seed_aurocs([*histories, [replace(row, unseen_auroc=None)]])


def test_shares_of_evidence_counted_by_hand() -> None:
    even, middle = np.ones((2, 7, 7)), np.zeros((1, 7, 7))
    assert heatmaps.border_share(even) == pytest.approx(24 / 49)
    assert heatmaps.outside_share(even) == pytest.approx(40 / 49)  # the middle 3 × 3
    middle[0, 3, 3] = -2
    assert heatmaps.border_share(middle) == heatmaps.outside_share(middle) == 0
    middle[0, 0, 0] = 2
    assert heatmaps.border_share(middle) == pytest.approx(0.5)


def test_a_map_agrees_with_itself_and_a_flat_one_with_nothing() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 7))
    for factor in (1, -1, 0):
        assert heatmaps.correlations(maps, factor * maps) == pytest.approx([factor] * 3)


def test_other_weights_make_other_maps() -> None:
    classifier, images = model_folder.load(DEFAULT_MODEL), [grey(300, 240, seed) for seed in range(3)]
    result = heatmaps.check(DEFAULT_MODEL, classifier, images)
    assert all(correlation < 0.7 for correlation in result["randomised"].values())
    novelty = classifier.classify(images).novelty
    none, everything = (heatmaps.randomised(classifier, DEFAULT_MODEL, share).classify(images).novelty for share in (0.0, 1.0))
    assert np.array_equal(none, novelty)  # the head alone: the same features
    assert not np.allclose(everything, novelty)


def test_a_hospital_of_which_no_image_is_typical_has_no_figures() -> None:
    none = Predictions([], np.empty(0, bool), np.empty(0), np.empty(0))
    found = elsewhere.figures(none, model_folder.description_of(DEFAULT_MODEL))
    assert (found["images"], found["unusual"], found["foreign"]) == ({"negative": 0, "positive": 0}, 0, 0)
    assert found["auroc"] is found["sensitivity"] is found["specificity"] is None

"""The shipped model's card and report: generated, from its own model.json, and fit to be shown."""

import re

import pytest

from service.model.artefact import Description
from tests.conftest import DEFAULT_MODEL
from training.graph import model_folder
from training.stages import card

REPORT = DEFAULT_MODEL / "report"


@pytest.fixture(scope="module")
def description() -> Description:
    return model_folder.load(DEFAULT_MODEL).artefact.description


def test_card_and_report_are_what_the_description_says(description: Description) -> None:
    sizes = card.sizes_of(REPORT)
    assert card.render("card.md", description, sizes) == (DEFAULT_MODEL / "README.md").read_text(encoding="utf-8")
    assert card.render("report.html", description, sizes) == (REPORT / "index.html").read_text(encoding="utf-8")


def test_every_picture_is_there_and_none_is_left_over() -> None:
    page = (REPORT / "index.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'src="([^"]+)"', page)) | set(re.findall(r'<link rel="stylesheet" href="([^"]+)"', page))
    assert shown | {"index.html"} == {path.name for path in REPORT.iterdir()}
    assert sum(path.stat().st_size for path in REPORT.iterdir()) < 1_500_000


def test_the_page_asks_nothing_of_another_host() -> None:
    page = (REPORT / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" not in page


def test_limits_and_disclaimer_stand_before_the_first_picture() -> None:
    page = (REPORT / "index.html").read_text(encoding="utf-8")
    assert page.index("Not a medical device") < page.index("fell to an AUROC of 0.54") < page.index("<img")


def test_small_copies_of_radiographs_are_a_limit() -> None:
    small = {"A": {"width": [100, 200, 224], "height": [90, 200, 224]}, "B": {"width": [50, 60, 70], "height": [50, 60, 300]}}
    [limit] = card.small_copies(small)
    assert "at most 224 × 300 pixels" in limit
    assert not card.small_copies({**small, "C": {"width": [800, 1300, 2000], "height": [500, 900, 1500]}})

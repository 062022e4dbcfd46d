"""What is read beside the answer: the explanation, what a call is worth, the report, the printed page."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import running_service
from tests.torture.toy import write_folder
from tests.web.conftest import OpenPage, WriteImages, expect_all, expect_batch, predict, upload
from tests.web.model import default_description, write_model

HOLES = re.compile(r"NaN|undefined|null|Infinity|\[object|…")
PREVALENCE = "How common is pneumonia among those imaged?"


def pages(page: Page) -> int:
    return page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n")


def test_the_explanation_has_numbers_in_captions_and_no_holes_or_walls(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for figure in page.locator("#how figure:not(#figure-responses)").all():
        expect(figure).to_be_visible()
        assert re.search(r"\d", figure.locator("figcaption").inner_text())
    assert not HOLES.search(page.locator("#how").inner_text())
    for part in page.locator("#how .part").all():
        assert sum(len(text.split()) for text in part.locator(":scope > p:not(.note):not(.try)").all_inner_texts()) <= 90
    expect(page.locator("#figure-sum")).to_contain_text("Example, not an image")
    predict(page, files(0.93))
    expect(page.locator("#figure-reliability")).to_contain_text("this image: 93 %")
    for words in ("The image that is shown now", "score 93 %"):
        expect(page.locator("#figure-sum")).to_contain_text(words)
    page = open_page("phone")
    expect(page.locator("#how .part[open]")).to_have_count(0)  # there is little room: the parts wait folded
    page.locator("#how summary").first.click()
    expect(page.locator("#figure-filters")).to_be_visible()


def test_other_hospitals_and_what_is_no_anatomy_stand_in_short_tables(open_page: OpenPage) -> None:
    page = open_page()

    def rows(name: str) -> list[list[str]]:
        return [row.inner_text().split("\t") for row in page.locator(f"#{name} tr").all()]

    hospitals, properties = rows("table-elsewhere"), rows("table-shortcuts")
    assert hospitals[0] == ["Hospital", "area", "found", "false alarm", "called unusual"]
    assert hospitals[1:] == [["North, 200 images", "0.75", "90 %", "86 %", "99 %"], ["South, 100 images", "–", "–", "–", "1 %"]]
    assert properties[1] == ["property 6", "–", "0.60"] and len(properties) == 6


def test_a_model_without_metrics_is_explained_without_holes(open_page: OpenPage, tmp_path: Path, files: WriteImages) -> None:
    with running_service(model=write_folder(tmp_path / "bare")) as client:
        page = open_page(url=str(client.base_url))
        assert not HOLES.search(page.locator("#how").inner_text())
        expect(page.locator("#rarer")).to_be_hidden()
        expect(page.locator(".report-link").first).to_be_hidden()
        assert client.get("/report/index.html").status_code == 404
        predict(page, files(0.5))
        assert not HOLES.search(page.locator("#tool").inner_text())


def test_a_model_of_which_the_head_alone_learned_is_not_told_as_fine_tuned(open_page: OpenPage, tmp_path: Path) -> None:
    metrics = default_description()["metrics"]
    anatomy, fit = metrics["anatomy"], metrics["fit"]
    still = [stage | {"change": 0.0} for stage in anatomy["stages"]]
    filters = anatomy["filters"] | {"after": anatomy["filters"]["before"]}
    first = fit["histories"][0][:1]  # of preset `fast`: one epoch, and that is no epoch
    figures = {"seed 0": {key: first[0][key] for key in ("val_auroc", "altered_auroc")}}
    alone = {
        "epochs": 0,
        "histories": [first],
        "kept": [0],
        "kept_seed": 0,
        "networks": {"figures": figures, "chosen": "seed 0"},
    }
    changed = {"anatomy": anatomy | {"stages": still, "filters": filters}, "fit": alone}
    with running_service(model=write_model(tmp_path, changed)) as client:
        page = open_page(url=str(client.base_url))
        told = page.locator("#how").inner_text()
        assert not HOLES.search(page.locator("#how").inner_html().replace("…", ""))
        assert "fine-tun" not in told and "After X-rays" not in told and "moved the early" not in told
        expect(page.locator("#how")).to_contain_text("no other layer of this model learned from X-rays")
        expect(page.locator("#how")).to_contain_text(
            f"was {first[0]['val_auroc']:.3f} with everything frozen but the head, and"
        )
        expect(page.locator("#figure-filters > div")).to_have_count(1)
        expect(page.locator("#figure-stages")).to_be_hidden()


def test_a_model_that_saw_few_and_nameless_images_says_how_little_is_known(
    open_page: OpenPage, tmp_path: Path, files: WriteImages
) -> None:
    description = default_description()
    data, metrics = description["data"], description["metrics"]
    few = [group | {"images": 3} for group in metrics["test"]["reliability"]]
    warning = "12 images of PNEUMONIA are too few to show 0.97"
    measured = {
        "test": metrics["test"] | {"reliability": few},
        "calibration": metrics["calibration"] | {"warnings": [f"{warning}.", "the error is worse."]},
    }
    nameless = data | {"without_patient": 60, "files": 100, "source": ""}
    for number, (screening, rule_in) in enumerate(((0.5, 0.5), (0.0, 1.0))):
        thresholds = {"screening": screening, "balanced": 0.5, "rule_in": rule_in}
        model = write_model(tmp_path / str(number), measured, data=nameless, ages=None, thresholds=thresholds)
        with running_service(model=model) as client:
            page = predict(open_page(url=str(client.base_url)), files(0.79))
            if rule_in == 0.5:
                expect(page.locator("#meaning")).to_contain_text("is not known: 3 images with about this score were held out")
                expect(page.locator("#posterior")).to_be_empty()
                assert "No grey zone: the limit is 50." in str(page.locator("#bar").get_attribute("aria-label"))
                for zone in ("#bar-note", "#tick-rule-in", "#points", "#figure-reliability .zone-words"):
                    expect(page.locator(zone).locator("visible=true")).to_have_count(0)
                expect(page.locator("#table-points")).to_contain_text("All at 50 %")
            else:
                expect(page.locator("#label")).to_have_text("Uncertain")
                expect(page.locator("#meaning")).to_contain_text("so every answer is uncertain: read it as no answer.")
            how = page.locator("#how")
            for words in (
                f"{warning}. The error is worse.",
                "File names told no patient for 60 of 100",
                "licence are not known",
            ):
                expect(how).to_contain_text(words)
            for unknown in ("nobody is in two rows", "no adults", "aged", "Kermany"):
                expect(how).not_to_contain_text(unknown)
            expect(page.locator("#rarer-source")).not_to_contain_text("patients")


def test_prevalence_moves_what_a_call_is_worth_and_never_the_score(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.93))
    page.get_by_label(PREVALENCE).fill("0")
    counts = [int(page.locator(f"#n-{name}").inner_text().replace(",", "")) for name in ("tp", "fn", "fp", "tn")]
    assert sum(counts) == 1000
    drawn = [page.locator(f"#squares .{name}").get_attribute("d") or "" for name in ("tp", "fn", "fp", "tn")]
    assert [path.count("M") for path in drawn] == counts
    said = page.locator("#squares").get_attribute("aria-label") or ""
    assert re.findall(r"\d+", said.removeprefix("1,000"))[:4] == [str(count) for count in counts]
    tp, _, fp, _ = counts
    assert tp == 1
    worth = f"PPV: of {tp + fp} called pneumonia, {tp} has it"
    expect_all(page, {"prevalence-out": "1 of 1,000", "ppv-words": worth, "score": "93 %", "label": "Pneumonia"})


def test_a_posterior_says_no_more_than_the_test_fold_can_tell(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for probability, place, words in (
        (0.995, "0", "would mean at least 9 % where 1 of 1,000"),
        (0.93, "0", "would mean 1 % where 1 of 1,000"),
        (0.005, "0", "would mean < 1 % where 1 of 1,000"),
        (0.005, "8", "would mean at most 1 % where 500 of 1,000"),
    ):
        predict(page, files(probability))
        page.get_by_label(PREVALENCE).fill(place)
        expect(page.locator("#posterior")).to_contain_text(words)
    predict(page, files(0.6, brightest=180))  # an unusual image
    expect(page.locator("#ppv")).not_to_be_empty()
    expect(page.locator("#posterior")).to_be_empty()
    for expression, expected in (
        ("posterior(0.93, 0.5, 0.05)", 0.4115),
        ("predictiveValues(0.95, 0.90, 0.05).ppv", 0.333),
        ("predictiveValues(0.95, 0.90, 0.05).npv", 0.997),
        ("counts(0.95, 0.9, 50)", {"tp": 48, "fn": 2, "fp": 95, "tn": 855}),
    ):
        names = "{ posterior, predictiveValues, counts }"
        found = page.evaluate(f"import('/web/answer/prevalence.js').then(({names}) => {expression})")
        assert found == pytest.approx(expected, abs=5e-4)


def test_the_report_of_the_model_is_a_click_away(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page(url=str(client.base_url))
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Read the model’s whole report").click()
    expect(opened.value.get_by_role("heading", name="chest-xray-best")).to_be_visible()
    expect(opened.value.locator("body")).to_have_css("max-width", "1088px")  # its style sheet came through


def test_print_is_one_page_with_map_and_date_or_a_table(open_page: OpenPage, files: WriteImages, service: httpx.Client) -> None:
    page = predict(open_page(theme="dark"), files(0.6, brightest=180, size=(100, 400)))
    expect(page.locator("#novelty li")).to_have_count(2)  # all warnings
    assert pages(page) == 1
    predict(page, files(0.93))
    assert pages(page) == 1
    page.emulate_media(media="print")
    for name in ("#label", "#score", "#bar", "#legend", "#facts", "#print-foot", ".view[data-view=image]", "#map"):
        expect(page.locator(name)).to_be_visible()
    for hidden in [*page.get_by_role("button").all(), page.locator("#how"), page.locator("#fact-name")]:
        expect(hidden).to_be_hidden()
    foot = page.locator("#print-foot").inner_text()
    assert service.get("/model-info").json()["running"]["sha256"] in foot
    assert "Not a medical device" in foot
    assert re.search(r"Printed \d\d/\d\d/\d{4}", foot)
    expect(page.locator("body")).to_have_css("color", "rgb(19, 32, 43)")
    page = open_page()
    upload(page, files(0.9, 0.2))
    expect_batch(page, "2 of 2")
    page.emulate_media(media="print")
    expect(page.locator("#batch-rows")).to_be_visible()
    expect(page.locator(".bench")).to_be_hidden()

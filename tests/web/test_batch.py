"""A batch: rows fill in place, can be sorted, filtered, opened one by one, saved, and cancelled."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.web.conftest import OpenPage, WriteImages, expect_batch, expect_state, fake_answer, fits, upload


def names(page: Page) -> list[str]:
    return page.locator("#batch-rows th").all_inner_texts()


def with_a_refused_one(paths: list[str]) -> list[str]:
    notes = Path(paths[0]).with_name("=cmd.txt")
    notes.write_bytes(b"no image")
    return [*paths, str(notes)]


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return download.value.path().read_text(encoding="utf-8")


def test_totals_add_up_and_rows_are_sorted_filtered_and_opened(open_page: OpenPage, files: WriteImages, tmp_path: Path) -> None:
    page = open_page()
    unusual = Path(files(0.6, brightest=180)[0]).rename(tmp_path / "unusual.png")
    paths = with_a_refused_one([*files(0.9, 0.01, 0.3, 0.95), str(unusual)])
    upload(page, paths)
    expect_batch(page, "5 of 6 files read. 1 was not:")
    counts = page.locator("#batch-filters span").all_inner_texts()
    assert counts == ["All 6", "Normal 1", "Pneumonia 2", "Uncertain 1", "Unusual 1", "Refused 1"]
    expect(page.locator("#batch-failures")).to_contain_text("This file type cannot be read. Use JPEG, PNG or DICOM. =cmd.txt")
    expect(page.locator("#live")).to_have_text("Batch finished. 5 read, 1 not read.")
    assert names(page) == [Path(path).name for path in paths]
    for order, scores in (("ascending", ["0.01", "0.3", "0.9", "0.95"]), ("descending", ["0.95", "0.9", "0.3", "0.01"])):
        page.get_by_role("button", name="Score").click()
        expect(page.locator("th[data-key=score]")).to_have_attribute("aria-sort", order)
        assert [score for name in names(page) if (score := name.rpartition("-")[2].removesuffix(".png")) in scores] == scores
    page.get_by_role("radio", name="Uncertain").check()
    assert [name.rpartition("-")[2] for name in names(page)] == ["0.3.png"]
    page.locator("#batch-rows button").first.click()
    expect_state(page, "result")
    expect(page.locator("#score")).to_have_text("30 %")


def test_csv_and_json_hold_what_the_page_shows_and_no_cell_runs_as_a_formula(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    upload(page, with_a_refused_one([*files(0.9, 0.3), *files(0.6, brightest=100)]))
    expect_batch(page, "3 of 4")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    assert [row["answer"] for row in rows] == ["positive", "uncertain", "hidden", ""]
    assert [(row["abstain"], row["reasons"]) for row in rows[:2]] == [("false", ""), ("true", "uncertain")]
    assert [rows[2][name] for name in ("score", "label", "novelty")] == ["", "", "foreign"]
    assert rows[3]["file"] == "'=cmd.txt"
    assert rows[3]["problem"].startswith("415")
    assert all("Not a medical device" in row["note"] for row in rows)
    found = json.loads(saved(page, "JSON"))
    assert ["prediction" in result for result in found["results"]] == [True, True, True, False]
    assert ["problem" in result for result in found["results"]] == [False, False, False, True]
    known, _, hidden, _ = found["results"]
    assert known["prediction"].keys() - hidden["prediction"].keys() == {"label", "confidence", "probabilities", "uncertain"}
    assert "Not a medical device" in found["disclaimer"]


def test_a_refused_file_is_found_on_the_second_page_of_the_table(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    upload(page, with_a_refused_one(files(*[round(0.01 + 0.001 * index, 3) for index in range(200)], size=(40, 50))))
    expect_batch(page, "200 of 201 files read.")
    expect(page.locator("#row-200")).to_have_count(0)
    page.locator("#batch-failures a").click()
    expect(page.locator("#row-200")).to_be_in_viewport()


def test_files_that_timed_out_can_be_tried_again_and_the_rest_cancelled(open_page: OpenPage, files: WriteImages) -> None:
    page, requests = open_page(), list[Any]()
    fake_answer(page, 504)
    upload(page, files(0.9, 0.3))
    expect_batch(page, "0 of 2 files read. 2 were not:")
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try the 2 unanswered again").click()
    expect_batch(page, "2 of 2 files read.")

    def answer_the_first(route: Any) -> None:
        requests.append(route)
        if len(requests) == 1:
            route.continue_()

    page.route("**/predict*", answer_the_first)
    upload(page, files(*[0.9] * 9))
    expect_batch(page, "Reading 1 of 9 files.")
    page.get_by_role("button", name="Cancel the rest").click()
    expect_batch(page, "Stopped after 1. The rest was not sent.")


def test_a_busy_service_reads_all_in_the_end(open_page: OpenPage, files: WriteImages, limited_service: httpx.Client) -> None:
    page = open_page(url=str(limited_service.base_url))
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    upload(page, files(*[0.9] * 12, size=(1500, 1500)))
    done = page.locator("#batch-words").filter(has_text="12 of 12 files read.")
    again = page.get_by_role("button", name=re.compile("unanswered again"))
    for _ in range(6):  # the page itself stops after a few tries, which a busy machine may use up
        expect(done.or_(again).first).to_be_visible(timeout=60_000)
        if done.is_visible():
            break
        again.click()
    expect(done).to_be_visible()
    assert 429 in statuses


def test_a_long_file_name_wraps(open_page: OpenPage, files: WriteImages) -> None:
    path = Path(files(0.9)[0])
    long = path.rename(path.with_name("a" * 80 + ".png"))
    page = open_page("phone")
    upload(page, [str(long), *files(0.2)])
    expect_batch(page, "2 of 2")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert fits(page)
        assert page.locator("#batch-scroll").evaluate("table => table.scrollWidth <= table.clientWidth")

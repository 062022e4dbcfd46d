"""Many images at once: rows fill in place, can be sorted, shown one by one, and taken away."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.conftest import running_service
from tests.web.conftest import Open, fits, give, state

REFUSED = b"no image"


def names(page: Page) -> list[str]:
    return page.locator("#batch-rows th").all_inner_texts()


def done(page: Page, words: str) -> None:
    expect(page.locator("#batch-words")).to_contain_text(words)


def with_a_refused_one(paths: list[str]) -> list[str]:
    notes = Path(paths[0]).with_name("=cmd.txt")
    notes.write_bytes(REFUSED)
    return [*paths, str(notes)]


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return download.value.path().read_text(encoding="utf-8")


def test_totals_add_up_and_reasons_stand_with_their_rows(open_page: Open, files: Any, tmp_path: Path) -> None:
    page = open_page()
    unusual = Path(files(0.6, brightest=180)[0]).rename(tmp_path / "unusual.png")
    paths = with_a_refused_one([*files(0.9, 0.01, 0.3, 0.95), str(unusual)])
    give(page, paths)
    done(page, "5 of 6 files read. 1 was not:")
    assert page.locator("#batch-filters span").all_inner_texts() == [
        "All 6", "Normal 1", "Pneumonia 2", "Uncertain 1", "Unusual 1", "Refused 1",
    ]  # fmt: skip
    expect(page.locator("#batch-failures")).to_contain_text("This file type cannot be read. Use JPEG, PNG or DICOM. =cmd.txt")
    expect(page.locator("#live")).to_have_text("Batch finished. 5 read, 1 not read.")
    assert names(page) == [Path(path).name for path in paths]


def test_it_sorts_and_filters(open_page: Open, files: Any) -> None:
    page = open_page()
    give(page, files(0.9, 0.01, 0.3))
    done(page, "3 of 3")
    page.get_by_role("button", name="Score").click()
    expect(page.locator("th[data-key=score]")).to_have_attribute("aria-sort", "ascending")
    assert [name.rpartition("-")[2] for name in names(page)] == ["0.01.png", "0.3.png", "0.9.png"]
    page.get_by_role("button", name="Score").click()
    expect(page.locator("th[data-key=score]")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("radio", name="Uncertain").check()
    assert [name.rpartition("-")[2] for name in names(page)] == ["0.3.png"]


def test_csv_and_json_hold_all_and_no_cell_runs_as_a_formula(open_page: Open, files: Any) -> None:
    page = open_page()
    give(page, with_a_refused_one(files(0.9, 0.3)))
    done(page, "2 of 3")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    assert [row["answer"] for row in rows] == ["positive", "uncertain", ""]
    assert rows[2]["file"] == "'=cmd.txt"
    assert rows[2]["problem"].startswith("415")
    assert all("Not a medical device" in row["note"] for row in rows)
    found = json.loads(saved(page, "JSON"))
    assert [("prediction" in result, "problem" in result) for result in found["results"]] == [(True, False)] * 2 + [
        (False, True)
    ]
    assert "Not a medical device" in found["disclaimer"]


def test_what_the_page_hides_its_tables_do_not_tell(open_page: Open, files: Any) -> None:
    page = open_page()
    give(page, [*files(0.9), *files(0.6, brightest=100)])
    done(page, "2 of 2")
    [_, row] = csv.DictReader(io.StringIO(saved(page, "CSV")))
    assert (row["answer"], row["score"], row["label"], row["novelty"]) == ("hidden", "", "", "foreign")
    [known, hidden] = json.loads(saved(page, "JSON"))["results"]
    assert known["prediction"].keys() - hidden["prediction"].keys() == {"label", "confidence", "probabilities", "uncertain"}


def test_a_refused_file_is_found_on_whichever_page_of_the_table_it_stands(open_page: Open, files: Any) -> None:
    page = open_page()
    give(page, with_a_refused_one(files(*[round(0.01 + 0.001 * index, 3) for index in range(200)], size=(40, 50))))
    expect(page.locator("#batch-words")).to_contain_text("200 of 201 files read.", timeout=60_000)
    expect(page.locator("#row-200")).to_have_count(0)
    page.locator("#batch-failures a").click()
    expect(page.locator("#row-200")).to_be_in_viewport()


def test_a_row_opens_with_its_map(open_page: Open, files: Any) -> None:
    page = open_page()
    give(page, files(0.9, 0.3))
    done(page, "2 of 2")
    page.locator("#batch-rows button").first.click()
    state(page, "result")
    expect(page.locator("#score")).to_have_text("90 %")


def test_what_is_left_can_be_cancelled(open_page: Open, files: Any) -> None:
    page = open_page()
    answered = []

    def answer(route: Any) -> None:
        answered.append(route)
        if len(answered) == 1:
            route.continue_()  # and the others never

    page.route("**/predict*", answer)
    give(page, files(*[0.9] * 9))
    expect(page.locator("#batch-words")).to_contain_text("Reading 1 of 9 files.")
    page.get_by_role("button", name="Cancel the rest").click()
    done(page, "Stopped after 1. The rest was not sent.")


def test_the_busy_ones_are_tried_again(open_page: Open, files: Any) -> None:
    page = open_page()
    page.route("**/predict*", lambda route: route.fulfill(status=504, body="{}"))
    give(page, files(0.9, 0.3))
    done(page, "0 of 2 files read. 2 were not:")
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try the 2 unanswered again").click()
    done(page, "2 of 2 files read.")


def test_a_service_with_one_place_answers_all_of_them_in_the_end(open_page: Open, files: Any) -> None:
    with running_service(queue_limit=1) as client:
        page = open_page(url=str(client.base_url))
        statuses: list[int] = []
        page.on("response", lambda response: statuses.append(response.status))
        give(page, files(*[0.9] * 12, size=(1500, 1500)))
        expect(page.locator("#batch-words")).to_contain_text("12 of 12 files read.", timeout=60_000)
    assert 429 in statuses


def test_a_long_name_wraps_and_nothing_scrolls_sideways(open_page: Open, files: Any) -> None:
    path = Path(files(0.9)[0])
    long = path.rename(path.with_name("a" * 80 + ".png"))
    for size in ("phone", "desk"):
        page = open_page(size)
        give(page, [str(long), *files(0.2)])
        done(page, "2 of 2")
        assert fits(page)
        assert page.locator("#batch-scroll").evaluate("table => table.scrollWidth <= table.clientWidth")

"""Problems: the page says in words what happened and what to do, in the place of the picture."""

import itertools
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conftest import encode, running_service
from tests.web.conftest import OpenPage, WriteImages, expect_state, fake_answer, predict, upload
from tests.web.model import image_for

BAD_FILES = {
    "notes.txt": (b"no image", "This file type cannot be read. Use JPEG, PNG or DICOM."),
    "empty.png": (b"", "This file type cannot be read."),
    "cut.png": (encode(image_for(0.5))[:200], "It could not be opened as an image. It may be damaged."),
    "small.png": (encode(Image.new("L", (16, 16))), "The image is 16 × 16 px; each side must have 32 to 8,192 px."),
    "thin.png": (encode(Image.new("L", (1000, 100))), "The long side may be at most 4 times the short one"),
}
SERVICE_PROBLEMS = {
    408: "Sending took too long. Check the connection and try again.",
    500: "The service failed. Request abc123.",
    503: "The service is not ready.",
    504: "The service could not answer in time. Nothing is wrong with your image.",
    400: "The page and the service do not match. Reload the page.",
    405: "The page and the service do not match. Reload the page.",
}


def expect_problem(page: Page, *words: str) -> None:
    expect_state(page, "problem")
    for part in words:
        expect(page.get_by_role("alert")).to_contain_text(part, ignore_case=True)
    expect(page.locator("#answer")).to_be_hidden()  # an error never stands beside an old result
    expect(page.get_by_role("button", name="Choose another image")).to_be_visible()


def test_a_refused_file_gets_its_reason_in_place_of_an_answer(open_page: OpenPage, files: WriteImages, tmp_path: Path) -> None:
    page = open_page()
    for name, (content, words) in BAD_FILES.items():
        predict(page, files(0.9))
        (tmp_path / name).write_bytes(content)
        upload(page, str(tmp_path / name))
        expect_problem(page, "There is a problem with this file.", words)


def test_a_file_over_the_limit_is_refused_unsent(open_page: OpenPage, tmp_path: Path, limited_service: httpx.Client) -> None:
    page = open_page(url=str(limited_service.base_url))
    page.route("**/predict*", lambda route: pytest.fail("it was sent"))
    path = tmp_path / "large.png"
    path.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)))
    upload(page, str(path))
    expect_problem(page, "the limit is 0.1 MB")


def test_a_problem_of_the_service_is_told_from_one_of_the_file(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for status, words in SERVICE_PROBLEMS.items():
        fake_answer(page, status)
        upload(page, files(0.9))
        expect(page.get_by_role("alert")).to_have_text(re.compile(r"\s*".join(map(re.escape, words.split()))))
        expect(page.get_by_role("button", name="Try again")).to_have_count(0 if status in {400, 405} else 1)


def test_a_module_or_connection_that_fails_is_reported_and_tried_again(open_page: OpenPage, files: WriteImages) -> None:
    page, loads = open_page(), itertools.count()
    page.route("**/web/viewer/stage.js", lambda route: route.abort() if next(loads) < 3 else route.continue_())
    page.reload()
    expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
    page.route("**/web/viewer/stage.js", lambda route: route.abort())
    page.goto(page.url)
    expect(page.locator("#message")).to_have_text("A part of the page could not be loaded. Reload the page.")
    page.unroute("**/web/viewer/stage.js")
    page.reload()
    expect_state(page, "empty")
    page.route("**/predict*", lambda route: route.abort())
    upload(page, files(0.9))
    expect_problem(page, "No connection to the service.", "does not answer")
    expect(page.locator("#status-text")).to_have_text("Ready")


@pytest.mark.parametrize("body", ['{"label": "NORM', ""])
def test_an_answer_that_is_cut_off_is_a_problem_of_the_connection(open_page: OpenPage, files: WriteImages, body: str) -> None:
    page = open_page()
    page.route("**/predict*", lambda route: route.fulfill(status=200, body=body, content_type="application/json"))
    upload(page, files(0.9))
    expect_problem(page, "No connection to the service.")
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()
    expect_state(page, "result")


def test_overload_is_retried_can_be_stopped_and_keeps_the_image(open_page: OpenPage, files: WriteImages) -> None:
    page, requests = open_page(), list[str]()
    fake_answer(page, 429, **{"Retry-After": "4"})
    upload(page, files(0.9))
    expect(page.locator("#reading")).to_contain_text(re.compile(r"The service is busy\..*\d seconds"))
    page.get_by_role("button", name="Stop trying").click()
    expect_state(page, "empty")
    fake_answer(page, 429, **{"Retry-After": "0.1"})  # a fraction, so that the test does not wait for seconds
    page.on("request", lambda request: requests.append(request.url))
    upload(page, files(0.9))
    expect(page.get_by_role("alert")).to_contain_text("The service is still busy.")
    assert sum("/predict" in url for url in requests) == 4
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()
    expect_state(page, "result")


def test_an_image_given_while_the_service_starts_is_read_later(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page(ready=False)
    fake_answer(page, 503, "the service is starting", path="/health/ready")
    page.reload()
    expect_state(page, "waiting")
    expect(page.locator("#message")).to_contain_text("The service is starting.")
    expect(page.locator("#status-text")).to_have_text("Starting")
    upload(page, files(0.9))
    expect(page.locator("#message")).to_contain_text("Your image is kept and will be read as soon as the service is ready.")
    page.unroute("**/health/ready*")
    expect_state(page, "result")


def test_the_page_keeps_a_token_in_memory_and_stores_nothing_but_the_theme(open_page: OpenPage, files: WriteImages) -> None:
    with running_service(token="s3cret") as client:
        page = open_page(url=str(client.base_url), ready=False)
        field = page.get_by_label("This service requires a token")
        field.fill("wrong")
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#token-wrong")).to_have_text("The service rejects this token.")
        field.fill("s3cret")
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
        predict(page, files(0.9))
        page.get_by_role("link", name="The model’s whole report").first.click()
        expect(page.get_by_role("dialog")).to_contain_text("AUROC")
        expect(page.locator("dialog img").first).to_have_attribute("src", re.compile("^blob:"))
        expect(page.locator("dialog img").first).not_to_have_js_property("naturalWidth", 0)
        page.get_by_role("button", name="Close the report").click()
        page.get_by_role("button", name="Theme").click()
        page.get_by_role("radio", name="Dark").check()
        assert "s3cret" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        assert page.evaluate("Object.keys(localStorage)") == ["theme"]
        assert page.evaluate("indexedDB.databases().then(found => found.length)") == 0
        assert page.context.cookies() == []
        page.reload()
        expect(field).to_be_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 18, 23)"

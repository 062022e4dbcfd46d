"""What is refused is said where it happened, in words, with what to do."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conftest import encode, running_service
from tests.web.conftest import Open, give, shown, state
from tests.web.model import image_for


def answer(page: Page, status: int, detail: str = "made up", **headers: str) -> None:
    """What the real service cannot be brought to by settings."""
    problem = {"title": "Problem", "status": status, "detail": detail, "request_id": "abc123"}
    page.route(
        "**/predict*",
        lambda route: route.fulfill(
            status=status, body=json.dumps(problem), headers={"Content-Type": "application/problem+json", **headers}
        ),
    )


def refused(page: Page, *words: str) -> None:
    state(page, "problem")
    alert = page.get_by_role("alert")
    for part in words:
        expect(alert).to_contain_text(part)
    expect(page.locator("#answer")).to_be_hidden()  # an error never stands beside an old result
    expect(page.get_by_role("button", name="Choose another image")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"no image", "This file type cannot be read. Use JPEG, PNG or DICOM."),
        ("empty.png", b"", "This file type cannot be read."),
        ("cut.png", encode(image_for(0.5))[:200], "It could not be opened as an image. It may be damaged."),
        ("small.png", encode(Image.new("L", (16, 16))), "The image is 16 × 16 px; each side must have 32 to 8,192 px."),
        ("thin.png", encode(Image.new("L", (1000, 100))), "The long side may be at most 4 times the short one"),
    ],
)
def test_a_file_that_the_service_refuses(
    open_page: Open, files: Any, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    page = shown(open_page(), files(0.9))
    (tmp_path / name).write_bytes(content)
    give(page, str(tmp_path / name))
    refused(page, "There is a problem with this file.")
    assert words.lower() in page.get_by_role("alert").inner_text().lower()


def test_a_file_over_the_limit_is_refused_before_it_is_sent(open_page: Open, tmp_path: Path) -> None:
    with running_service(max_body_bytes=2_000, queue_bytes=1_000_000) as client:
        page = open_page(url=str(client.base_url))
        page.route("**/predict*", lambda route: pytest.fail("it was sent"))
        path = tmp_path / "large.png"
        path.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)))
        give(page, str(path))
        refused(page, "the limit is 0.002 MB")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (408, "Sending took too long. Check the connection and try again."),
        (500, "The service failed. Request abc123."),
        (503, "The service is not ready."),
        (504, "The service could not answer in time. Nothing is wrong with your image."),
        (400, "Page and service do not match. Reload the page."),
        (405, "Page and service do not match. Reload the page."),
    ],
)
def test_a_problem_of_the_service_says_whose_it_is(open_page: Open, files: Any, status: int, words: str) -> None:
    page = open_page()
    answer(page, status)
    give(page, files(0.9))
    state(page, "problem")
    said = " ".join(page.get_by_role("alert").inner_text().split())
    assert words in said
    expect(page.get_by_role("button", name="Try again")).to_have_count(0 if status in {400, 405} else 1)


def test_a_module_that_does_not_come_is_asked_for_again_and_then_missed(open_page: Open) -> None:
    page = open_page()
    page.route("**/web/stage.js", lambda route: route.abort())
    page.goto(page.url)
    expect(page.locator("#message")).to_have_text("A part of the page did not come. Reload it.")
    page.unroute("**/web/stage.js")
    page.reload()
    state(page, "empty")


def test_try_again_tries_again(open_page: Open, files: Any) -> None:
    page = open_page()
    answer(page, 504)
    give(page, files(0.9))
    refused(page, "could not answer in time")
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()
    state(page, "result")


def test_overload_is_waited_out_with_a_countdown_and_can_be_stopped(open_page: Open, files: Any) -> None:
    page = open_page()
    answer(page, 429, **{"Retry-After": "4"})
    give(page, files(0.9))
    expect(page.locator("#reading")).to_contain_text("The service is busy.")
    expect(page.locator("#reading")).to_contain_text("seconds")
    page.get_by_role("button", name="Stop trying").click()
    state(page, "empty")


def test_after_three_tries_it_ends_calmly_and_keeps_the_image(open_page: Open, files: Any) -> None:
    page = open_page()
    asked: list[str] = []
    answer(page, 429, **{"Retry-After": "1"})
    page.on("request", lambda request: asked.append(request.url))
    give(page, files(0.9))
    expect(page.get_by_role("alert")).to_contain_text("Still busy.", timeout=15_000)
    assert sum("/predict" in url for url in asked) == 4
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()
    state(page, "result")


def test_a_service_that_is_gone_is_called_so(open_page: Open, files: Any) -> None:
    page = open_page()
    page.route("**/predict*", lambda route: route.abort())
    give(page, files(0.9))
    refused(page, "No connection to the service.", "does not answer")
    expect(page.locator("#status-text")).to_have_text("Ready")  # again, as it is there


def test_while_the_service_starts_the_page_waits_and_takes_an_image_already(open_page: Open, files: Any) -> None:
    page = open_page(ready=False)
    problem = {"title": "Not ready", "status": 503, "detail": "the service is starting"}
    page.route("**/health/ready", lambda route: route.fulfill(status=503, body=json.dumps(problem)))
    page.reload()
    state(page, "waiting")
    expect(page.locator("#message")).to_contain_text("The service is starting.")
    expect(page.locator("#status-text")).to_have_text("Starting")
    give(page, files(0.9))
    expect(page.locator("#message")).to_contain_text("Your image is kept, and read then.")
    page.unroute("**/health/ready")
    state(page, "result")


def test_a_token_is_asked_for_kept_in_memory_and_forgotten(open_page: Open, files: Any) -> None:
    with running_service(token="s3cret") as client:
        page = open_page(url=str(client.base_url), ready=False)
        field = page.get_by_label("This service wants a token")
        field.fill("wrong")
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#token-wrong")).to_have_text("The service refuses this token.")
        field.fill("s3cret")
        page.get_by_role("button", name="Use this token").click()
        expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
        shown(page, files(0.9))
        page.get_by_role("link", name="The model’s whole report").first.click()
        expect(page.get_by_role("dialog")).to_contain_text("AUROC")
        expect(page.locator("dialog img").first).to_have_attribute("src", re.compile("^blob:"))
        expect(page.locator("dialog img").first).not_to_have_js_property("naturalWidth", 0)
        page.get_by_role("button", name="Close the report").click()
        assert "s3cret" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        page.reload()
        expect(field).to_be_visible()


def test_the_page_stores_nothing_but_the_theme(open_page: Open, files: Any, service: httpx.Client) -> None:
    page = shown(open_page(), files(0.9))
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("radio", name="Dark").check()
    assert page.evaluate("Object.keys(localStorage)") == ["theme"]
    assert page.evaluate("indexedDB.databases().then(found => found.length)") == 0
    assert page.context.cookies() == []
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 18, 23)"

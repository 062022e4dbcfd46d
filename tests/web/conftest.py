"""Fixtures for the page: a real browser and the real service. A console error or a request to another host fails the test."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.conftest import encode, running_service
from tests.web.model import image_for, write_model

# Chromium reports every error response, and every test that reads pixels.
EXPECTED_MESSAGES = ("Failed to load resource", "Canvas2D: Multiple readback")
SIZES = {"phone": (390, 844), "tablet": (768, 1024), "desk": (1440, 900)}
OPEN_SECONDS = 30

OpenPage = Callable[..., Page]
WriteImages = Callable[..., list[str]]


def launch(playwright: Playwright) -> Browser | None:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    sandbox = [] if os.getuid() else ["--no-sandbox"]
    arguments = ["--no-proxy-server", *sandbox]
    return playwright.chromium.launch(executable_path=path, args=arguments) if path else None


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for this package alone: Playwright keeps an event loop running, beside which `asyncio.run` fails."""
    expect.set_options(timeout=1000 * OPEN_SECONDS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            pytest.skip("there is no Chromium: apt-get install chromium")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose answer depends on the brightness of the image (tests/web/model.py)."""
    with running_service(model=write_model(tmp_path_factory.mktemp("grey"))) as client:
        yield client


@pytest.fixture(scope="session")
def limited_service() -> Iterator[httpx.Client]:
    with running_service(max_body_bytes=100_000, queue_bytes=1_000_000, queue_limit=1) as client:
        yield client


@pytest.fixture
def open_page(browser: Browser, service: httpx.Client) -> Iterator[OpenPage]:
    """Opens the page at a size and in a theme. Afterwards fails on console errors and on requests to other hosts."""
    contexts, faults = [], []

    def open_page(size: str = "desk", theme: str = "light", url: str = "", ready: bool = True, **options: Any) -> Page:
        width, height = SIZES[size]
        touch = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
        viewport = {"width": width, "height": height}
        context = browser.new_context(**{"viewport": viewport, "color_scheme": theme, **touch, **options})
        contexts.append(context)
        page = context.new_page()
        base = (url or str(service.base_url)).rstrip("/")
        own = (f"{base}/", "data:", "blob:")
        page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(own) else faults.append(request.url))
        page.goto(f"{base}/")
        if ready:
            expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for fault in faults if not fault.startswith(EXPECTED_MESSAGES)] == []


@pytest.fixture
def files(tmp_path: Path) -> WriteImages:
    def write(*probabilities: float, **options: Any) -> list[str]:
        paths = [tmp_path / f"drawn-{index}-{probability}.png" for index, probability in enumerate(probabilities)]
        for path, probability in zip(paths, probabilities, strict=True):
            path.write_bytes(encode(image_for(probability, **options)))
        return [str(path) for path in paths]

    return write


def fake_answer(page: Page, status: int, detail: str = "made up", path: str = "/predict", **headers: str) -> None:
    body = json.dumps({"title": "A title", "status": status, "detail": detail, "request_id": "abc123"})
    headers = {"Content-Type": "application/problem+json", **headers}
    page.route(f"**{path}*", lambda route: route.fulfill(status=status, body=body, headers=headers))


def upload(page: Page, paths: list[str] | str) -> None:
    page.locator("#file").set_input_files(paths)


def box(page: Page, selector: str) -> dict[str, float]:
    found = page.locator(selector).first.bounding_box()
    assert found
    return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}


def expect_all(page: Page, texts: dict[str, str]) -> None:
    """`texts`: by the id of an element, its whole text."""
    for name, text in texts.items():
        expect(page.locator(f"#{name}")).to_have_text(text)


def expect_state(page: Page, name: str) -> None:
    expect(page.locator("#tool")).to_have_attribute("data-state", name)


def predict(page: Page, paths: list[str] | str) -> Page:
    upload(page, paths)
    expect_state(page, "result")
    return page


def expect_batch(page: Page, words: str) -> None:
    expect(page.locator("#batch-words")).to_contain_text(words, timeout=60_000)


def settle(page: Page) -> None:
    """Waits for the end of all animations, and then for two frames, so that the layout is final."""
    page.evaluate(
        """async () => {
            await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => null)));
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }"""
    )


def fits(page: Page) -> bool:
    """Whether nothing scrolls sideways. (On a phone `innerWidth` would not tell: it grows with content that is too wide.)"""
    assert page.viewport_size
    return bool(page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"])

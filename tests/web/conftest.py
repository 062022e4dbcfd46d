"""A real browser before the real service. An error in a page's console fails its test, and so does a request to anyone else."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import encode, running_service
from tests.web.model import image_for, write_model

# The browser's own notes: of every answer that is an error, and of tests that read pixels.
EXPECTED = ("Failed to load resource", "Canvas2D: Multiple readback")
SIZES = {"phone": (390, 844), "tablet": (768, 1024), "desk": (1440, 900)}
OPEN_SECONDS = 10

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    expect.set_options(timeout=1000 * OPEN_SECONDS)
    sandbox = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-proxy-server", *sandbox])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """With the model whose answers images choose."""
    with running_service(model=write_model(tmp_path_factory.mktemp("grey"))) as client:
        yield client


@pytest.fixture
def open_page(browser: Browser, service: httpx.Client) -> Iterator[Open]:
    """Opens the page at a size, in a theme, of a service; closes and judges it in the end."""
    contexts, seen = [], []

    def open_at(size: str = "desk", theme: str = "light", url: str = "", ready: bool = True, **options: Any) -> Page:
        width, height = SIZES[size]
        phone = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
        viewport = {"width": width, "height": height}
        context = browser.new_context(
            **{"viewport": viewport, "color_scheme": theme, "accept_downloads": True, **phone, **options}
        )
        contexts.append(context)
        page = context.new_page()
        base = (url or str(service.base_url)).rstrip("/")
        page.on("console", lambda message: seen.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: None if _own(request.url, base) else seen.append(f"asked {request.url}"))
        page.goto(base)
        if ready:
            expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [message for message in seen if not message.startswith(EXPECTED)] == []


def _own(url: str, base: str) -> bool:
    return url.startswith((f"{base}/", "data:", "blob:")) or url == base


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes images that the model answers by these probabilities: their paths."""

    def write(*probabilities: float, **options: Any) -> list[str]:
        paths = [tmp_path / f"drawn-{index}-{probability}.png" for index, probability in enumerate(probabilities)]
        for path, probability in zip(paths, probabilities, strict=True):
            path.write_bytes(encode(image_for(probability, **options)))
        return [str(path) for path in paths]

    return write


def give(page: Page, paths: list[str] | str) -> None:
    page.locator("#file").set_input_files(paths)


def state(page: Page, name: str) -> None:
    expect(page.locator("#tool")).to_have_attribute("data-state", name)


def fits(page: Page) -> bool:
    """Nothing scrolls sideways. (`innerWidth` would not tell on a phone: it grows with what is too wide.)"""
    assert page.viewport_size
    return bool(page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"])


def shown(page: Page, paths: list[str] | str) -> Page:
    """Given and answered."""
    give(page, paths)
    state(page, "result")
    return page

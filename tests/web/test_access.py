"""For everyone: axe-core without a violation in every state, by keyboard alone, at every size, with less motion."""

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import dicom_of, grey
from tests.web.conftest import SIZES, Open, fits, give, shown, state

AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    page.wait_for_timeout(250)  # until colours have faded in
    page.evaluate(AXE)
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for one in found for node in one["nodes"]]


def cut(page: Page) -> list[str]:
    """What is wider than its box."""
    found = page.evaluate(
        """() => [...document.querySelectorAll("main button, main p, main h2, main h3, main legend, main output, main td")]
            .filter((it) => it.checkVisibility() && it.scrollWidth > it.clientWidth + 1
                && getComputedStyle(it).display !== "inline" && !it.classList.contains("visually-hidden"))
            .map((it) => it.outerHTML.slice(0, 80))"""
    )
    return [str(one) for one in found]


def refused(page: Page, files: Any) -> None:
    page.route("**/predict*", lambda route: route.fulfill(status=422, body=json.dumps({"detail": "broken"})))
    give(page, files(0.5))
    state(page, "problem")


def reading(page: Page, files: Any) -> None:
    page.route("**/predict*", lambda route: None)
    give(page, files(0.5))
    state(page, "reading")


def batch(page: Page, files: Any) -> None:
    give(page, files(0.9, 0.01, 0.3))
    expect(page.locator("#batch-words")).to_contain_text("3 of 3")


def looked_at_closely(page: Page, files: Any) -> None:
    shown(page, files(0.93))
    page.locator("[name=mode][value=side]").check()
    page.locator("[data-tool=cells]").click()
    page.locator("[data-tool=in]").click()
    page.locator("#cells-table summary").click()


def busy(page: Page, files: Any) -> None:
    page.route("**/predict*", lambda route: route.fulfill(status=429, body="{}", headers={"Retry-After": "30"}))
    give(page, files(0.5))
    expect(page.locator("#reading")).to_contain_text("Trying again in")


def gone(page: Page, files: Any) -> None:
    page.route("**/predict*", lambda route: route.abort())
    give(page, files(0.5))
    state(page, "problem")


def starting(page: Page, files: Any) -> None:
    page.route("**/health/ready", lambda route: route.fulfill(status=503, body=json.dumps({"detail": "it starts"})))
    page.reload()
    state(page, "waiting")


def dragging(page: Page, files: Any) -> None:
    page.evaluate("dispatchEvent(new DragEvent('dragenter', { dataTransfer: new DataTransfer() }))")
    expect(page.locator("#frame")).to_have_attribute("data-drop", "Drop here.")


def looking_first(page: Page, files: Any) -> None:
    page.get_by_label("Look first").check()
    shown(page, files(0.93))


def dicom(page: Page, files: Any) -> None:
    path = Path(files(0.5)[0]).with_suffix(".dcm")
    path.write_bytes(dicom_of(grey(300, 260)))
    shown(page, str(path))


def keys(page: Page, files: Any) -> None:
    page.evaluate("document.getElementById('keys').showPopover()")


STATES: dict[str, Callable[[Page, Any], object]] = {
    "empty": lambda page, files: None,
    "pneumonia": lambda page, files: shown(page, files(0.93)),
    "normal": lambda page, files: shown(page, files(0.01)),
    "uncertain": lambda page, files: shown(page, files(0.3)),
    "unusual": lambda page, files: shown(page, files(0.5, brightest=180)),
    "foreign": lambda page, files: shown(page, files(0.05, brightest=100)),
    "refused": refused,
    "gone": gone,
    "starting": starting,
    "dragging": dragging,
    "reading": reading,
    "busy": busy,
    "dicom": dicom,
    "look first": looking_first,
    "batch": batch,
    "close": looked_at_closely,
    "keys": keys,
}


@pytest.mark.parametrize("size", ["phone", "desk"])
@pytest.mark.parametrize("name", STATES)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(open_page: Open, files: Any, name: str, size: str) -> None:
    page = open_page(size)
    STATES[name](page, files)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []
        assert fits(page)
        expect(page.get_by_role("note")).to_be_in_viewport()


@pytest.mark.parametrize("name", STATES)
def test_nothing_is_cut_in_any_state(open_page: Open, files: Any, name: str) -> None:
    page = open_page()
    STATES[name](page, files)
    for width in (320, 768, 1024):
        page.set_viewport_size({"width": width, "height": 800})
        assert fits(page)
        assert cut(page) == []
        expect(page.get_by_role("note")).to_be_in_viewport()


def test_axe_finds_nothing_in_what_is_unfolded_on_a_phone(open_page: Open) -> None:
    page = open_page("phone")
    for summary in page.locator("#how summary").all():
        summary.click()
    assert violations(page) == []


def test_axe_finds_nothing_in_the_report(open_page: Open, client: httpx.Client) -> None:
    page = open_page(url=str(client.base_url))
    page.goto(f"{client.base_url}/report/index.html")
    assert violations(page) == []


def test_from_the_keyboard_alone_to_an_answer_and_round_the_page(open_page: Open) -> None:
    page = open_page()
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)")
        seen.append(name)
        if name == "send-drawing":
            page.keyboard.press("Enter")
            state(page, "result")
        if name == "how":
            break
        focused = page.evaluate(
            """() => { const at = document.activeElement.getBoundingClientRect();
                const strip = document.querySelector(".strip").getBoundingClientRect();
                return document.activeElement.className === "skip" || at.bottom > strip.bottom || at.bottom <= strip.top; }"""
        )
        assert focused, f"{name} has the focus under the strip"
    assert {"choose", "choose-folder", "send-drawing", "stage", "opacity", "prevalence", "how"} <= set(seen)


def test_the_skip_link_leads_to_the_tool(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "tool"


@pytest.mark.parametrize("selector", ["#choose", "#stage", "#opacity", "#prevalence", "[name=mode][value=overlay]", ".sort"])
def test_the_focus_is_seen(open_page: Open, files: Any, selector: str) -> None:
    page = open_page()
    give(page, files(0.9, 0.3))
    expect(page.locator("#batch-words")).to_contain_text("2 of 2")
    shown(page, files(0.9))
    page.locator(selector).first.focus()
    page.keyboard.press("Shift")  # from now on the browser shows it
    drawn = page.evaluate(
        """selector => { const it = document.querySelector(selector);
            const at = it.type === "radio" ? it.nextElementSibling : it;
            const style = getComputedStyle(at);
            return style.outlineStyle !== "none" && style.boxShadow.includes("255, 210, 63"); }""",
        selector,
    )
    assert drawn


def test_motion_stops_where_less_of_it_is_wished(open_page: Open, files: Any) -> None:
    page = open_page(reduced_motion="reduce")
    reading(page, files)
    running = page.evaluate("document.getAnimations().filter(animation => animation.playState === 'running').length")
    assert running == 0


def test_text_twice_as_large_still_fits(open_page: Open, files: Any) -> None:
    page = shown(open_page(viewport={"width": 720, "height": 450}), files(0.93))  # as a desk of 1440 × 900 at 200 %
    assert fits(page)


def test_forced_colours_keep_map_and_bar(open_page: Open, files: Any) -> None:
    page = shown(open_page(forced_colors="active"), files(0.93))
    expect(page.locator(".bar")).to_have_css("forced-color-adjust", "none")
    expect(page.locator("#label")).to_be_visible()


@pytest.mark.parametrize("size", SIZES)
def test_the_layout_does_not_shift(open_page: Open, files: Any, size: str) -> None:
    page = open_page(size)
    page.evaluate(
        """() => {
            window.shifted = 0;
            new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
                if (!entry.hadRecentInput) window.shifted += entry.value;
            })).observe({ type: "layout-shift", buffered: true });
        }"""
    )
    shown(page, files(0.93))
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") <= 0.02

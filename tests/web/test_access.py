"""Accessibility: axe-core finds nothing in any state, the keyboard alone is enough, and the page fits every width."""

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import dicom_of, grey
from tests.web.conftest import SIZES, OpenPage, WriteImages, expect_batch, expect_state, fits, predict, settle, upload

AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
State: TypeAlias = Callable[[Page, WriteImages], object]  # brings the page into a state


def violations(page: Page, exclude: str = ".none") -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    run = "(exclude) => axe.run({ exclude: [exclude] }, { resultTypes: ['violations'] }).then(({ violations }) => violations)"
    found = page.evaluate(run, exclude)
    return [f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for one in found for node in one["nodes"]]


def overflowing(page: Page) -> list[str]:
    found = page.evaluate(
        """() => [...document.querySelectorAll("main button, main p, main h2, main h3, main legend, main output, main td")]
            .filter((it) => it.checkVisibility() && it.scrollWidth > it.clientWidth + 1
                && getComputedStyle(it).display !== "inline" && !it.classList.contains("visually-hidden"))
            .map((it) => it.outerHTML.slice(0, 80))"""
    )
    return [str(one) for one in found]


def answered_by(status: int, state: str, **headers: str) -> State:
    """The state of the page when `/predict` answers this; 0: the connection breaks, -1: there is no answer yet."""

    def reach(page: Page, files: WriteImages) -> None:
        def answer(route: Route) -> None:
            if status > 0:
                route.fulfill(status=status, body=json.dumps({"detail": "broken"}), headers=headers)
            elif not status:
                route.abort()

        page.route("**/predict*", answer)
        upload(page, files(0.5))
        expect_state(page, state)

    return reach


def busy(page: Page, files: WriteImages) -> None:
    answered_by(429, "reading", **{"Retry-After": "30"})(page, files)
    expect(page.locator("#reading")).to_contain_text("Trying again in")


def starting(page: Page, files: WriteImages) -> None:
    page.route("**/health/ready", lambda route: route.fulfill(status=503, body=json.dumps({"detail": "it starts"})))
    page.reload()
    expect_state(page, "waiting")


def dragging(page: Page, files: WriteImages) -> None:
    page.evaluate("dispatchEvent(new DragEvent('dragenter', { dataTransfer: new DataTransfer() }))")
    expect(page.locator("#frame")).to_have_attribute("data-drop", "Drop here.")


def batch(page: Page, files: WriteImages) -> None:
    upload(page, files(0.9, 0.01, 0.3))
    expect_batch(page, "3 of 3")


def zoomed_cells_side_by_side(page: Page, files: WriteImages) -> None:
    predict(page, files(0.93))
    page.locator("[name=mode][value=side]").check()
    for control in ("[data-tool=cells]", "[data-tool=in]", "#cells-table summary"):
        page.locator(control).click()


def look_first(page: Page, files: WriteImages) -> None:
    page.get_by_label("Look first").check()
    predict(page, files(0.93))


def dicom(page: Page, files: WriteImages) -> None:
    path = Path(files(0.5)[0]).with_suffix(".dcm")
    path.write_bytes(dicom_of(grey(300, 260)))
    predict(page, str(path))


def as_read(page: Page, files: WriteImages) -> None:
    predict(page, files(0.93))
    page.locator("[name=mode][value=square]").check()


def compared(page: Page, files: WriteImages) -> None:
    predict(page, files(0.93))
    page.locator("[data-tool=keep]").click()
    predict(page, files(0.01))


THEMES_AT: list[tuple[int, Literal["light", "dark"] | None]] = [  # the same rules hold at every width: one theme at each end
    (1440, "light"), (1024, None), (768, None), (390, "dark"), (320, None),
]  # fmt: skip
STATES: dict[str, State] = {
    "empty": lambda page, files: None,
    "pneumonia": lambda page, files: predict(page, files(0.93)),
    "normal": lambda page, files: predict(page, files(0.01)),
    "uncertain": lambda page, files: predict(page, files(0.3)),
    "unusual": lambda page, files: predict(page, files(0.5, brightest=180)),
    "foreign": lambda page, files: predict(page, files(0.05, brightest=100)),
    "refused": answered_by(422, "problem"),
    "unreachable": answered_by(0, "problem"),
    "reading": answered_by(-1, "reading"),
    "starting": starting,
    "dragging": dragging,
    "busy": busy,
    "dicom": dicom,
    "look first": look_first,
    "batch": batch,
    "zoomed": zoomed_cells_side_by_side,
    "as read": as_read,
    "compared": compared,
    "keys": lambda page, files: page.evaluate("document.getElementById('keys').showPopover()"),
}


@pytest.mark.parametrize("name", STATES)
def test_the_tool_in_every_state_satisfies_axe_and_fits_every_width(open_page: OpenPage, files: WriteImages, name: str) -> None:
    page = open_page(reduced_motion="reduce")  # so that a change of the theme shows its colours at once
    STATES[name](page, files)
    for width, theme in THEMES_AT:
        page.set_viewport_size({"width": width, "height": 800})
        assert fits(page)
        assert overflowing(page) == []
        expect(page.get_by_role("note")).to_be_in_viewport()
        if theme:
            page.emulate_media(color_scheme=theme)
            assert violations(page, exclude="#how") == []


def test_axe_finds_nothing_on_the_page_nor_in_the_report(open_page: OpenPage, files: WriteImages, client: httpx.Client) -> None:
    page = predict(open_page(reduced_motion="reduce"), files(0.93))
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []
    page = open_page("phone", "dark", reduced_motion="reduce")
    for summary in page.locator("#how summary").all():
        summary.click()
    assert fits(page)
    assert violations(page) == []
    page = open_page(url=str(client.base_url))
    page.goto(f"{client.base_url}/report/index.html")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []


def test_the_default_models_examples_satisfy_axe_and_fit_every_width(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page(url=str(client.base_url), reduced_motion="reduce")
    for state in ("empty", "result"):
        expect_state(page, state)
        for width, theme in THEMES_AT:
            page.set_viewport_size({"width": width, "height": 800})
            assert fits(page)
            assert overflowing(page) == []
            if theme:
                page.emulate_media(color_scheme=theme)
                assert violations(page, exclude="#how") == []
        if state == "empty":
            page.locator(".example").nth(2).click()


@pytest.mark.parametrize("size", SIZES)
def test_the_page_of_the_api_satisfies_axe_and_has_this_services_address(open_page: OpenPage, size: str) -> None:
    page = open_page(size, reduced_motion="reduce")
    page.goto(f"{page.url}docs")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == []
    assert fits(page)
    assert overflowing(page) == []
    expect(page.locator("pre").first).to_have_text(f"curl -F image=@xray.jpeg {page.url.removesuffix('/docs')}/predict")
    expect(page.locator("pre", has_text="/infer")).not_to_contain_text("NAME")


def test_the_keyboard_alone_reaches_every_control_in_sight(open_page: OpenPage) -> None:
    page, reached = open_page(), set[str]()
    for _ in range(80):
        page.keyboard.press("Tab")
        name, visible = page.evaluate(
            """() => { const focused = document.activeElement;
                const box = focused.getBoundingClientRect(), strip = document.querySelector(".strip").getBoundingClientRect();
                return [focused.id || focused.textContent.trim().slice(0, 20),
                    focused.className === "skip" || box.bottom > strip.bottom || box.bottom <= strip.top]; }"""
        )
        reached.add(name)
        assert visible, f"{name} has the focus under the strip"
        if name == "send-drawing":
            page.keyboard.press("Enter")
            expect_state(page, "result")
        if name == "how":
            break
    assert {"choose", "choose-folder", "send-drawing", "stage", "opacity", "prevalence", "how"} <= reached
    page.reload()
    page.keyboard.press("Tab")  # the skip link comes first
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "tool"


def test_every_kind_of_control_shows_the_focus(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    batch(page, files)
    predict(page, files(0.9))
    for selector in ("#choose", "#stage", "#opacity", "#prevalence", "[name=mode][value=overlay]", ".sort"):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift")  # the browser shows the focus from the first key on
        outlined = page.evaluate(
            """selector => { const control = document.querySelector(selector);
                const style = getComputedStyle(control.type === "radio" ? control.nextElementSibling : control);
                return style.outlineStyle !== "none" && style.boxShadow.includes("255, 210, 63"); }""",
            selector,
        )
        assert outlined, selector


def test_less_motion_larger_text_and_forced_colours_are_respected(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page(reduced_motion="reduce")
    STATES["reading"](page, files)
    assert page.evaluate("document.getAnimations().filter(animation => animation.playState === 'running').length") == 0
    page = predict(open_page(viewport={"width": 720, "height": 450}), files(0.93))  # a desk of 1440 × 900 at 200 %
    assert fits(page)
    page.emulate_media(forced_colors="active")
    expect(page.locator(".bar")).to_have_css("forced-color-adjust", "none")
    expect(page.locator("#label")).to_be_visible()


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_layout_does_not_shift(open_page: OpenPage, files: WriteImages, size: str) -> None:
    page = open_page(size)
    page.evaluate(
        """() => {
            window.shift = 0;
            new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
                if (!entry.hadRecentInput) window.shift += entry.value;
            })).observe({ type: "layout-shift", buffered: true });
        }"""
    )
    predict(page, files(0.93))
    expect(page.locator("#posterior")).not_to_be_empty()  # the page fills it last
    settle(page)
    assert page.evaluate("window.shift") <= 0.02

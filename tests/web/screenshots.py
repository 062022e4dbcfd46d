"""`make screenshots`: pictures of the main states of the page, at three widths and in both themes, for people to look at.

They show models/phantom, a model trained on drawings, with drawings, and the default model with its synthetic examples: never
an image of the data set. `desk.png` and `phone.png` are the README's."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import DEFAULT_MODEL, ROOT, running_service
from tests.web.conftest import SIZES, expect_batch, launch, predict, settle, upload
from training.data import phantoms

MODEL = ROOT / "models" / "phantom"
FOLDER = Path(__file__).parent / "screenshots"
SEED = 3
README = {"desk.png": "example-4-desk-light.png", "phone.png": "example-4-phone-dark.png"}


def write_drawings(folder: Path, count: int) -> list[str]:
    rng = np.random.default_rng(SEED)
    paths = [folder / f"drawn phantom {index + 1:02}.png" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(phantoms.draw(rng, sick=index % 2 == 1)).save(path)
    return [str(path) for path in paths]


def open_page(browser: Browser, url: str, size: str, theme: str) -> Page:
    touch = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme, **touch)  # type: ignore[arg-type]
    page.goto(url)
    expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
    return page


def take_picture(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    settle(page)
    page.screenshot(path=FOLDER / f"{name}.png")


def take_examples(page: Page, suffix: str) -> None:
    take_picture(page, f"first-{suffix}")
    for number in range(page.locator(".example").count()):
        page.locator(".example").nth(number).click()
        expect(page.locator("#tool")).to_have_attribute("data-state", "result")
        expect(page.locator("#fact-name")).to_contain_text("synthetic")
        page.locator("#stage").focus()
        page.evaluate("document.activeElement.blur()")
        take_picture(page, f"example-{number + 1}-{suffix}")
    page.locator("[name=mode][value=square]").check()
    take_picture(page, f"as-read-{suffix}")
    page.locator("[data-tool=keep]").click()
    page.locator(".example").first.click()
    expect(page.locator("#fact-name")).to_contain_text("Example 1")
    take_picture(page, f"compared-{suffix}")
    page.get_by_role("button", name="Send a drawing").first.click()  # foreign to it
    expect(page.locator("#novelty")).to_be_visible()
    take_picture(page, f"foreign-{suffix}")
    page.goto(f"{page.url}report/index.html")
    take_picture(page, f"report-{suffix}")


def take_states(page: Page, images: list[str], folder: Path, suffix: str) -> None:
    def take(name: str) -> None:
        take_picture(page, f"{name}-{suffix}")

    take("empty")
    page.get_by_role("button", name="Send a drawing").first.click()
    expect(page.locator("#tool")).to_have_attribute("data-state", "result")
    take("drawing")
    for index, image in enumerate(images[:6]):
        predict(page, image)
        take(f"result-{index + 1}")
    page.locator("[name=mode][value=side]").check()
    page.locator("[data-tool=cells]").click()
    take("side-by-side")
    page.locator("#rarer").scroll_into_view_if_needed()
    page.get_by_label("How common is").fill("4")
    take("rarer")
    page.locator("#how .part").nth(4).scroll_into_view_if_needed()
    take("how")
    notes = folder / "notes.txt"
    notes.write_text("no image")
    upload(page, str(notes))
    expect(page.get_by_role("alert")).to_be_visible()
    take("refused")
    upload(page, [*images, str(notes)])
    expect_batch(page, f"{len(images)} of {len(images) + 1} files read")
    take("batch")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = launch(playwright) or sys.exit("there is no Chromium: apt-get install chromium")
        images = write_drawings(Path(name), 12)
        for model in (MODEL, DEFAULT_MODEL):
            with running_service(model=model) as client:
                for size, theme in itertools.product(SIZES, ("light", "dark")):
                    page = open_page(browser, str(client.base_url), size, theme)
                    if model == MODEL:
                        take_states(page, images, Path(name), f"{size}-{theme}")
                    else:
                        take_examples(page, f"{size}-{theme}")
                    page.close()
    for copy, picture in README.items():
        shutil.copy(FOLDER / picture, FOLDER / copy)


if __name__ == "__main__":
    main()

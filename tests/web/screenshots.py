"""`make screenshots`: the main states of the page at three widths in both themes, for people to look at.

On models/phantom, a model trained on drawings, and with drawings: no image of the data set shows in any of them.
`desk.png` and `phone.png` are the README's.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import DEFAULT_MODEL, ROOT, running_service
from training.data import phantoms

MODEL = ROOT / "models" / "phantom"
FOLDER = Path(__file__).parent / "screenshots"
WIDTHS = {390: 844, 768: 1024, 1440: 900}
THEMES = ("light", "dark")
SEED = 3
README = {"desk.png": "drawing-1440-light.png", "phone.png": "drawing-390-dark.png"}


def drawings(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(SEED)
    paths = [folder / f"drawn phantom {index + 1:02}.png" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(phantoms.draw(rng, sick=index % 2 == 1)).save(path)
    return paths


def opened(browser: Browser, url: str, width: int, theme: str) -> Page:
    phone = {"is_mobile": True, "has_touch": True} if width < 500 else {}
    page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=theme, **phone)  # type: ignore[arg-type]
    page.goto(url)
    expect(page.locator("#status")).to_have_attribute("data-kind", "ready")
    return page


def answered(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)
    expect(page.locator("#tool")).to_have_attribute("data-state", "result")


def shoot(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # until map and marker have come to rest
    width, theme = page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light']")
    page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png")


def states(page: Page, images: list[Path], folder: Path) -> None:
    shoot(page, "empty")
    page.get_by_role("button", name="Send a drawing").first.click()
    expect(page.locator("#tool")).to_have_attribute("data-state", "result")
    shoot(page, "drawing")
    for index, image in enumerate(images[:6]):
        answered(page, image)
        shoot(page, f"result-{index + 1}")
    page.locator("[name=mode][value=side]").check()
    page.locator("[data-tool=cells]").click()
    shoot(page, "side-by-side")
    page.locator("#rarer").scroll_into_view_if_needed()
    page.get_by_label("How common is").fill("4")
    shoot(page, "rarer")
    page.locator("#how .part").nth(4).scroll_into_view_if_needed()
    shoot(page, "how")
    notes = folder / "notes.txt"
    notes.write_text("no image")
    page.locator("#file").set_input_files(notes)
    expect(page.get_by_role("alert")).to_be_visible()
    shoot(page, "refused")
    page.locator("#file").set_input_files([*images, notes])
    expect(page.locator("#batch-words")).to_contain_text(f"{len(images)} of {len(images) + 1} files read")
    shoot(page, "batch")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or sys.exit("no Chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        images = drawings(Path(name), 12)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-proxy-server", "--no-sandbox"])
        for model, draw in ((MODEL, True), (DEFAULT_MODEL, False)):
            with running_service(model=model) as client:
                for width in WIDTHS:
                    for theme in THEMES:
                        page = opened(browser, str(client.base_url), width, theme)
                        if draw:
                            states(page, images, Path(name))
                        else:  # what a model says of what it never learned
                            page.get_by_role("button", name="Send a drawing").first.click()
                            expect(page.locator("#novelty")).to_be_visible()
                            shoot(page, "foreign")
                        page.close()
    for name, one in README.items():
        shutil.copy(FOLDER / one, FOLDER / name)


if __name__ == "__main__":
    main()

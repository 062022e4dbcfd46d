"""How fast the page is, in Chromium, before the default model on this machine: first paint, first answer, five hundred images.

make benchmark-page        writes tests/benchmarks/page.json, prints the README's words
"""

import base64
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import encode, running_service
from training import run_folder
from training.data import phantoms

RESULT = Path(__file__).with_suffix(".json")
VISITS, DROPS, FOLDER = 15, 30, 500
SIZE = (1000, 1300)
BATCH_SECONDS = 300
OPEN_SECONDS = 30


class Batch(TypedDict):
    """Frames: while so many images are read."""

    images: int
    seconds: float
    frames: int
    frames_over_50_ms: int
    longest_frame_ms: float


class Found(TypedDict):
    """`first_answer_ms`: from the drop of a JPEG of 1300 × 1000 to the frame that shows label, score and map."""

    processor: object
    cpus: object
    visit_bytes: int  # of all that is fetched, as it is sent
    first_paint_ms: list[float]
    first_answer_ms: list[float]
    batch: Batch


def main() -> None:
    chromium = shutil.which("chromium") or sys.exit("no Chromium here: apt-get install chromium")
    with running_service() as client, sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-proxy-server", "--no-sandbox"])
        url, image = str(client.base_url), encode(drawing(), "JPEG", quality=90)
        visits = [visit(browser, url) for _ in range(VISITS)]
        page = opened(browser, url)
        answers = [drop(page, image) for _ in range(DROPS)]
        environment = run_folder.environment()
        found = Found(
            processor=environment["processor"],
            cpus=environment["cpus"],
            visit_bytes=visits[0][1],
            first_paint_ms=[paint for paint, _ in visits],
            first_answer_ms=answers[1:],  # the first one compiles scripts
            batch=read_folder(page, image, Path(folder)),
        )
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(words(found))


def drawing() -> Any:
    """uint8 [height, width]"""
    drawn = phantoms.draw(np.random.default_rng(0), sick=True)
    scale = [-(-wanted // had) for wanted, had in zip(SIZE, drawn.shape, strict=True)]
    return np.kron(drawn, np.ones(scale, dtype=np.uint8))[: SIZE[0], : SIZE[1]]


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(url)
    expect(page.locator("#status")).to_have_attribute("data-kind", "ready", timeout=1000 * OPEN_SECONDS)
    return page


def visit(browser: Browser, url: str) -> tuple[float, int]:
    """First paint, ms, and bytes of all that was fetched, with an empty cache."""
    page = opened(browser, url)
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    size = page.evaluate(
        """performance.getEntries().filter(({ entryType }) => ["navigation", "resource"].includes(entryType))
            .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"""
    )
    page.context.close()
    return float(paint), int(size)


def drop(page: Page, image: bytes) -> float:
    """ms. The default model finds a drawing foreign and hides score and map, so both are asked for, as a reader would."""
    return float(
        page.evaluate(
            """async (encoded) => {
                const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], "drawing.jpeg"));
                const begin = performance.now();
                document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
                const tool = document.getElementById("tool");
                while (tool.dataset.state === "result") await new Promise((next) => setTimeout(next));
                while (tool.dataset.state !== "result") await new Promise((next) => setTimeout(next));
                document.querySelector("#novelty button")?.click();
                document.querySelector("[data-tool=map][aria-pressed=false]")?.click();
                await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
                return performance.now() - begin;
            }""",
            base64.b64encode(image).decode(),
        )
    )


def read_folder(page: Page, image: bytes, folder: Path) -> Batch:
    paths = [folder / f"drawing {index:03}.jpeg" for index in range(FOLDER)]
    for path in paths:
        path.write_bytes(image)
    page.evaluate(
        """() => { window.gaps = []; let last = performance.now(); window.begun = last;
            const next = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(next); };
            requestAnimationFrame(next); }"""
    )
    page.locator("#file").set_input_files(paths)
    expect(page.locator("#batch-words")).to_contain_text(f"{FOLDER} of {FOLDER} files read.", timeout=1000 * BATCH_SECONDS)
    gaps, seconds = page.evaluate("[gaps.slice(1), (performance.now() - begun) / 1000]")
    return Batch(
        images=FOLDER,
        seconds=seconds,
        frames=len(gaps),
        frames_over_50_ms=sum(gap > 50 for gap in gaps),
        longest_frame_ms=max(gaps),
    )


def words(found: Found) -> str:
    paint, answer = found["first_paint_ms"], found["first_answer_ms"]
    machine = f"{found['cpus']} CPUs ({found['processor']})"
    batch = found["batch"]
    smooth = 1 - batch["frames_over_50_ms"] / batch["frames"]
    return (
        f"A visit fetches {found['visit_bytes'] / 1000:.0f} kB in all. "
        f"On {machine} that service and browser share, "
        f"it paints after {statistics.median(paint):.0f} ms ({max(paint):.0f} at most), "
        f"and shows the answer, map and all, {statistics.median(answer):.0f} ms after "
        f"a JPEG of 1300 × 1000 is dropped ({max(answer):.0f} at most); "
        f"{batch['images']} of them take {batch['seconds']:.0f} s, with {smooth:.1%} of the frames within 50 ms."
    )


if __name__ == "__main__":
    main()

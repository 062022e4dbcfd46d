"""From an image to what the model says of it."""

import base64
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conftest import dicom_of, encode, grey
from tests.web.conftest import OpenPage, WriteImages, box, expect_all, expect_state, fake_answer, predict, settle, upload
from tests.web.model import image_for

SHAPES = {"positive": ".disc", "negative": ".square", "uncertain": ".half"}
FACTS = ("Decode", "Queue", "Inference", "Total", "Request")


def dropped(page: Page, kind: str, name: str, content: bytes) -> None:
    page.evaluate(
        """([kind, name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
            const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [kind, name, base64.b64encode(content).decode()],
    )


def test_an_upload_is_answered_by_word_shape_and_number(open_page: OpenPage, files: WriteImages, service: httpx.Client) -> None:
    page = open_page()
    answers = {0.01: ("Normal", "negative"), 0.93: ("Pneumonia", "positive"), 0.3: ("Uncertain", "uncertain")}
    for probability, (label, kind) in answers.items():
        predict(page, files(probability))
        percent = round(100 * probability)
        expect(page.locator("#result")).to_have_attribute("data-kind", kind)
        expect_all(page, {"label": label, "score": f"{percent} %", "tick-screening": "2.6 %", "tick-rule-in": "67 %"})
        assert f"Score {percent} of 100." in str(page.locator("#bar").get_attribute("aria-label"))
        for media in ("print", "screen"):  # on grey paper the labels differ by shape alone
            page.emulate_media(media=media)
            assert [shape for shape in SHAPES.values() if page.locator(f".sign {shape}").is_visible()] == [SHAPES[kind]]
    expect_all(page, {"leaning": "leaning to normal", "live": "Uncertain, leaning to normal. Score 30 of 100."})
    expect(page.locator("#meaning")).to_contain_text("read it as no answer")
    expect(page.locator("#facts")).to_contain_text(service.get("/model-info").json()["running"]["sha256"])
    for name in FACTS:
        expect(page.locator("#facts dt", has_text=re.compile(f"^{name}$"))).to_have_count(1)
    for probability, text in ((0.0005, "< 1 %"), (0.9995, "> 99 %")):  # no score is shown as certain
        expect_all(predict(page, files(probability)), {"score": text})


def test_doubts_stand_above_the_label_and_take_back_the_promise_of_calibration(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    doubts: list[tuple[dict[str, Any], str, str]] = [  # Any: options of `image_for`
        ({"brightest": 180}, "#novelty", "It differs from what the model learned from"),
        ({"size": (100, 400)}, "#novelty li", "The image is tiny, 400 × 100 px"),
    ]
    for options, callout, words in doubts:
        predict(page, files(0.93, **options))
        assert box(page, callout)["y"] < box(page, "#label")["y"]
        expect(page.locator(callout).first).to_contain_text(words, ignore_case=True)
        expect(page.locator("#result")).to_have_attribute("data-doubt", "")
        promise = "only for images like the training images, and this one is not like them."
        expect(page.locator("#meaning")).to_contain_text(promise)
    expect(page.locator("#live")).to_contain_text(words)  # it is spoken, too
    predict(page, files(0.6, brightest=180))
    expect(page.locator("[data-tool=map]")).to_have_attribute("aria-pressed", "false")
    predict(page, files(0.05, brightest=100))  # a foreign image has no score until it is asked for
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_role("button", name="Show it anyway").click()
    expect_all(page, {"score": "5 %"})


def test_the_default_model_finds_a_drawing_foreign(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page(url=str(client.base_url))
    page.get_by_role("button", name="Send a drawing").first.click()
    expect_state(page, "result")
    expect(page.locator("#novelty")).to_contain_text("Very unusual image")
    expect_all(page, {"fact-name": "Drawing, not an X-ray"})


def test_files_are_dropped_pasted_and_chosen_and_no_name_leaves_the_page(open_page: OpenPage, tmp_path: Path) -> None:
    page, sent, content = open_page(), list[Any](), encode(image_for(0.9))
    page.on("request", lambda request: sent.append(request))
    dropped(page, "dragenter", "Secret^Person.png", content)
    expect(page.locator("#frame")).to_have_class(re.compile("dropping"))
    expect(page.locator("#frame")).to_have_attribute("data-drop", "Drop to read this image.")
    dropped(page, "drop", "Secret^Person.png", content)
    expect_state(page, "result")
    expect_all(page, {"fact-name": "Secret^Person.png"})
    for request in sent:
        assert "Secret" not in request.url + str(request.headers) + str(request.post_data_buffer)
    page.reload()
    dropped(page, "paste", "pasted.png", content)  # without a focus
    expect_state(page, "result")
    (tmp_path / "sixteen.png").write_bytes(encode(Image.fromarray(image_for(0.9).astype(np.uint16) * 257)))
    predict(page, str(tmp_path / "sixteen.png"))
    expect_all(page, {"score": "90 %", "fact-name": "sixteen.png", "fact-size": "300 × 240"})


def test_dicom_is_shown_as_the_service_decodes_it(open_page: OpenPage, tmp_path: Path) -> None:
    path, halves = tmp_path / "image.dcm", grey(260, 300)
    halves[:, 130:] = 255
    path.write_bytes(dicom_of(halves))
    page = predict(open_page(), str(path))
    expect_all(page, {"fact-size": "shrunk to 260 × 300"})
    pixels = page.locator("#base").evaluate("c => [10, 250].map(x => c.getContext('2d').getImageData(x, 150, 1, 1).data[0])")
    assert pixels[0] < 200 < pixels[1] == 255
    expect(page.locator("#message")).to_be_hidden()


def test_a_preview_that_comes_late_is_not_shown_below_another_images_answer(
    open_page: OpenPage, files: WriteImages, tmp_path: Path
) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_of(grey(260, 300)))
    page = open_page()
    held: list[Any] = []  # Any: routes
    page.route("**/preview", lambda route: held.append(route))
    predict(page, str(path))
    expect(page.locator("#answer")).to_be_visible()  # it does not wait for the preview
    predict(page, files(0.93))
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    expect_all(page, {"fact-size": "300 × 240", "score": "93 %"})


def test_dicom_is_answered_though_neither_browser_nor_service_can_show_it(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_of(grey(300, 260)))
    page = open_page()
    fake_answer(page, 429, path="/preview")
    predict(page, str(path))
    expect(page.locator("#message")).to_contain_text("Your browser cannot show this file type; the model can read it.")
    expect(page.locator("#answer")).to_be_visible()
    for control in ("[data-tool=invert]", "[name=mode][value=side]"):  # there is nothing to invert or compare
        expect(page.locator(control)).to_be_disabled()


def test_look_first_hides_label_and_map_until_the_reader_chooses(open_page: OpenPage, files: WriteImages) -> None:
    told = "Model: pneumonia, 93 %."
    tallies = {
        "Normal": f"You: normal. {told} Two answers that agree can both be wrong. So far you agreed on 0 of 1.",
        "Not sure": f"You: not sure. {told}",  # neither agrees nor differs
    }
    for choice, tally in tallies.items():
        page = open_page()
        page.get_by_label("Look first").check()
        predict(page, files(0.93))
        expect(page.locator("#answer")).to_be_hidden()
        expect(page.locator("#stage")).not_to_have_class(re.compile("mapped"))
        page.locator("#look-choices").get_by_role("button", name=choice).click()
        expect(page.locator("#tally")).to_have_text(tally)
        expect(page.locator("#stage")).to_have_class(re.compile("mapped"))
        assert page.evaluate("document.activeElement.id") == "result-title"


@pytest.mark.parametrize("size", ["phone", "tablet", "desk"])
def test_the_layout_has_the_same_size_empty_answered_and_reading(open_page: OpenPage, files: WriteImages, size: str) -> None:
    page = open_page(size)

    def layout() -> tuple[float, float, float]:
        frame = box(page, "#frame")
        return frame["width"], frame["height"], box(page, "#result")["width"]

    empty = layout()
    predict(page, files(0.93))
    assert layout() == empty
    if size == "phone":  # the picture comes right below the strip and stays
        settle(predict(page, files(0.93, size=(100, 400))))
        strip = box(page, ".strip")
        assert 0 <= box(page, "#frame")["y"] - (strip["y"] + strip["height"]) < 20
    if size == "desk":  # answer, picture and legend are seen without scrolling
        for name in ("#label", "#score", "#bar", "#frame", "#legend", ".strip"):
            expect(page.locator(name)).to_be_in_viewport(ratio=1)
    page.route("**/predict*", lambda route: None)  # never answered
    upload(page, files(0.1))
    expect_state(page, "reading")
    expect(page.locator("#answer")).to_be_hidden()  # a new image clears the old answer at once
    assert layout() == empty
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect_state(page, "empty")

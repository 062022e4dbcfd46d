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
from tests.web.conftest import OpenPage, WriteImages, expect_state, predict, settle, upload
from tests.web.model import image_for


def dropped(page: Page, kind: str, images: dict[str, bytes]) -> None:
    """A drop or a paste of these files, as the browser would report it."""
    encoded = {name: base64.b64encode(content).decode() for name, content in images.items()}
    page.evaluate(
        """([kind, files]) => {
            const data = new DataTransfer();
            for (const [name, text] of Object.entries(files))
                data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name));
            const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [kind, encoded],
    )


def test_an_upload_is_answered_by_word_shape_number_and_bar(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    shapes = {"positive": ".disc", "negative": ".square", "uncertain": ".half"}
    for probability, label, kind in (
        (0.01, "Normal", "negative"),
        (0.93, "Pneumonia", "positive"),
        (0.3, "Uncertain", "uncertain"),
    ):
        predict(page, files(probability))
        expect(page.locator("#result")).to_have_attribute("data-kind", kind)
        expect(page.locator("#label")).to_have_text(label)
        expect(page.locator("#score")).to_have_text(f"{round(100 * probability)} %")
        assert f"Score {round(100 * probability)} of 100." in str(page.locator("#bar").get_attribute("aria-label"))
        expect(page.locator("#tick-screening")).to_have_text("2.6 %")
        expect(page.locator("#tick-rule-in")).to_have_text("67 %")
        assert [shape for shape in shapes.values() if page.locator(f".sign {shape}").is_visible()] == [shapes[kind]]


def test_no_score_is_shown_as_certain(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for probability, text in ((0.0005, "< 1 %"), (0.9995, "> 99 %")):
        expect(predict(page, files(probability)).locator("#score")).to_have_text(text)


def test_an_uncertain_answer_says_which_way_it_leans_and_that_it_is_no_answer(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.3))
    expect(page.locator("#leaning")).to_have_text("leaning to normal")
    expect(page.locator("#meaning")).to_contain_text("read it as no answer")
    expect(page.locator("#live")).to_have_text("Uncertain, leaning to normal. Score 30 of 100.")


def test_an_unusual_image_is_called_so_above_its_label_and_has_no_map_at_first(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.6, brightest=180))
    callout, label = page.locator("#novelty").bounding_box(), page.locator("#label").bounding_box()
    assert callout and label
    assert callout["y"] < label["y"]
    expect(page.locator("#novelty")).to_contain_text("It differs from what the model learned from")
    expect(page.locator("[data-tool=map]")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("options", [{"brightest": 180}, {"size": (100, 400)}], ids=["unusual", "warned of"])
def test_no_promise_of_calibration_stands_beside_a_doubt(open_page: OpenPage, files: WriteImages, options: Any) -> None:
    page = predict(open_page(), files(0.93, **options))
    expect(page.locator("#result")).to_have_attribute("data-doubt", "")
    expect(page.locator("#meaning")).to_contain_text("only for images like the training images, and this one is not like them.")


def test_a_warning_stands_above_the_label_and_is_spoken(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.93, size=(100, 400)))
    warning, label = page.locator("#novelty li").first.bounding_box(), page.locator("#label").bounding_box()
    assert warning and label
    assert warning["y"] < label["y"]
    expect(page.locator("#live")).to_contain_text("The image is tiny, 400 × 100 px")


def test_a_foreign_image_has_no_score_until_it_is_asked_for(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.05, brightest=100))
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_role("button", name="Show it anyway").click()
    expect(page.locator("#score")).to_have_text("5 %")


def test_the_default_model_finds_a_drawing_foreign(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page(url=str(client.base_url))
    page.get_by_role("button", name="Send a drawing").first.click()
    expect_state(page, "result")
    expect(page.locator("#novelty")).to_contain_text("Very unusual image")
    expect(page.locator("#fact-name")).to_have_text("Drawing, not an X-ray")


def test_a_drop_is_read_wherever_it_falls(open_page: OpenPage) -> None:
    page = open_page()
    image = {"dropped.png": encode(image_for(0.9))}
    dropped(page, "dragenter", image)
    expect(page.locator("#frame")).to_have_class(re.compile("dropping"))
    assert page.locator("#frame").get_attribute("data-drop") == "Drop to read this image."
    dropped(page, "drop", image)
    expect_state(page, "result")
    expect(page.locator("#fact-name")).to_have_text("dropped.png")


def test_a_paste_is_read_without_a_focus(open_page: OpenPage) -> None:
    page = open_page()
    dropped(page, "paste", {"pasted.png": encode(image_for(0.9))})
    expect_state(page, "result")


def test_dicom_is_answered_though_the_browser_cannot_show_it(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom_of(grey(300, 260)))
    page = predict(open_page(), str(path))
    expect(page.locator("#message")).to_contain_text("Your browser cannot show this file type; the model can read it.")
    expect(page.locator("#answer")).to_be_visible()
    for control in ("[data-tool=invert]", "[name=mode][value=side]"):  # there is nothing to invert or compare
        expect(page.locator(control)).to_be_disabled()


def test_sixteen_bits_are_read_and_shown(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "sixteen.png"
    path.write_bytes(encode(Image.fromarray(image_for(0.9).astype(np.uint16) * 257)))
    page = predict(open_page(), str(path))
    expect(page.locator("#score")).to_have_text("90 %")
    expect(page.locator("#fact-size")).to_have_text("300 × 240")


def test_a_new_image_clears_the_old_answer_at_once(open_page: OpenPage, files: WriteImages, tmp_path: Path) -> None:
    page = predict(open_page(), files(0.9))
    page.route("**/predict*", lambda route: None)  # never answered
    upload(page, files(0.1))
    expect_state(page, "reading")
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect_state(page, "empty")


def test_no_file_name_leaves_the_page(open_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "Secret^Person.png"
    path.write_bytes(encode(image_for(0.9)))
    page = open_page()
    sent = []
    page.on("request", lambda request: sent.append(request))
    predict(page, str(path))
    for request in sent:
        assert "Secret" not in request.url + str(request.headers) + str(request.post_data_buffer)


def test_timings_model_and_the_whole_hash_are_told(open_page: OpenPage, files: WriteImages, service: httpx.Client) -> None:
    page = predict(open_page(), files(0.9))
    for name in ("Decode", "Queue", "Inference", "Total", "Request"):
        expect(page.locator("#facts dt", has_text=re.compile(f"^{name}$"))).to_have_count(1)
    expect(page.locator("#facts")).to_contain_text(service.get("/model-info").json()["running"]["sha256"])


def test_look_first_hides_label_and_map_until_the_reader_chooses(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    page.get_by_label("Look first").check()
    predict(page, files(0.93))
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#stage")).not_to_have_class(re.compile("mapped"))
    page.locator("#look-choices").get_by_role("button", name="Normal").click()
    expect(page.locator("#tally")).to_contain_text(
        "You: normal. Model: pneumonia, 93 %. Two answers that agree can both be wrong."
    )
    expect(page.locator("#stage")).to_have_class(re.compile("mapped"))


def size_of(page: Page) -> tuple[float, float, float]:
    """Width and height of the frame, width of the result."""
    frame, result = page.locator("#frame").bounding_box(), page.locator("#result").bounding_box()
    assert frame and result
    return frame["width"], frame["height"], result["width"]


def test_on_a_phone_the_picture_comes_right_below_the_strip_and_stays(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page("phone"), files(0.93, size=(100, 400)))
    settle(page)
    strip, frame = page.locator(".strip").bounding_box(), page.locator("#frame").bounding_box()
    assert strip and frame
    assert 0 <= frame["y"] - (strip["y"] + strip["height"]) < 20


def test_a_reader_who_is_not_sure_neither_agrees_nor_differs(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    page.get_by_label("Look first").check()
    predict(page, files(0.93))
    page.locator("#look-choices").get_by_role("button", name="Not sure").click()
    expect(page.locator("#tally")).to_have_text("You: not sure. Model: pneumonia, 93 %.")
    assert page.evaluate("document.activeElement.id") == "result-title"


@pytest.mark.parametrize("size", ["phone", "tablet", "desk"])
def test_the_layout_has_the_same_size_empty_reading_and_answered(open_page: OpenPage, files: WriteImages, size: str) -> None:
    page = open_page(size)
    sizes = [size_of(page)]
    page.route("**/predict*", lambda route: None)  # never answered
    upload(page, files(0.9))
    expect_state(page, "reading")
    sizes.append(size_of(page))
    page.unroute("**/predict*")
    predict(page, files(0.9))
    sizes.append(size_of(page))
    assert sizes[0] == sizes[1] == sizes[2]


def test_at_a_desk_answer_picture_and_legend_are_seen_without_scrolling(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.93))
    for name in ("#label", "#score", "#bar", "#frame", "#legend", ".strip"):
        expect(page.locator(name)).to_be_in_viewport(ratio=1)

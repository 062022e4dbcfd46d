"""The map lies on the picture, in the same colours for every image; mouse, touch and keys move both."""

import base64
import re
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conftest import ROOT, encode
from tests.web.conftest import OpenPage, WriteImages, box, expect_all, predict
from tests.web.model import image_for

NORMAL = sorted((ROOT.parent / "shared" / "data").rglob("NORMAL/*.jpeg"))[::150][:9]


def map_pixels(page: Page) -> npt.NDArray[np.uint8]:
    """uint8 [pixels, 4]: red, green, blue, alpha of the map, row by row."""
    encoded = page.evaluate(
        """async () => {
            const map = document.getElementById("map");
            const blob = new Blob([map.getContext("2d").getImageData(0, 0, map.width, map.height).data]);
            const reader = new FileReader();
            reader.readAsDataURL(blob);
            return new Promise((done) => { reader.onload = () => done(reader.result.split(",")[1]); });
        }"""
    )
    return np.frombuffer(base64.b64decode(encoded), dtype=np.uint8).reshape(-1, 4)


def zoom(page: Page) -> str:
    return page.locator("#fact-zoom").inner_text().removeprefix("zoom ")


def test_the_colours_are_the_same_for_every_image_and_weak_evidence_is_clear(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for path, channel in zip(files(0.99, 0.01), (0, 2), strict=True):  # evidence for is orange, against is blue
        expect_all(predict(page, path), {"legend-low": "−4.0", "legend-high": "+4.0"})
        middle = map_pixels(page)[224 * 112 + 112]
        assert max(middle[:3]) == middle[channel]
    predict(page, files(0.5))
    assert map_pixels(page)[:, 3].max() < 130  # of 255: it is not stretched; at half the scale it would be full
    colours = page.evaluate("import('/web/viewer/heatmap.js').then(({ colour }) => [-1, -0.5, 0, 0.5, 1].map(colour))")
    expected = [(0x59, 0xA0, 0xF9), (0x70, 0xA1, 0xDF), (0x9E, 0x9E, 0x9E), (0xD1, 0x8C, 0x5C), (0xE4, 0x82, 0x33)]
    assert np.abs(np.subtract(colours, expected)).max() <= 1
    for theme in ("light", "dark"):  # the stage is black in both
        page.emulate_media(color_scheme=theme)
        expect(page.locator("#frame")).to_have_css("background-color", "rgb(0, 0, 0)")


@pytest.mark.skipif(not NORMAL, reason="no X-rays beside this clone")
def test_the_map_of_a_normal_x_ray_is_mostly_clear(open_page: OpenPage, client: httpx.Client) -> None:
    page, shares = open_page(url=str(client.base_url)), []
    for path in NORMAL:
        predict(page, str(path))
        strength = float(page.locator("#map").evaluate("map => getComputedStyle(map).getPropertyValue('--strength')"))
        shares.append(np.mean(strength * map_pixels(page)[:, 3] / 255 < 0.25))
    assert np.median(shares) > 0.5


def test_an_inverted_picture_keeps_both_hues_and_both_lines(open_page: OpenPage, tmp_path: Path) -> None:
    halves = np.full((240, 300), 30, dtype=np.uint8)
    halves[:, 150:] = 255
    (tmp_path / "halves.png").write_bytes(encode(halves))
    page = predict(open_page(), str(tmp_path / "halves.png"))
    before = map_pixels(page)
    page.get_by_role("button", name="Invert").click()
    expect(page.locator("#base")).to_have_css("filter", "invert(1)")
    expect(page.locator("#map")).to_have_css("filter", "none")
    assert (map_pixels(page) == before).all()
    for name, dashes in (("for", "none"), ("against", "5px, 5px")):
        line = page.locator(f"#contours .{name}")
        assert line.get_attribute("d")
        expect(line).to_have_css("visibility", "visible")
        expect(line).to_have_css("stroke-dasharray", dashes)


def test_the_map_lies_exactly_on_the_picture(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    for height, width in ((200, 500), (500, 200), (300, 300)):
        predict(page, files(0.9, size=(height, width)))
        page.locator("[data-tool=in]").click()
        for mode in ("overlay", "side"):
            page.locator(f"[name=mode][value={mode}]").check()
            base = box(page, "#base")
            assert base == box(page, "#map")
            assert base["width"] / base["height"] == pytest.approx(width / height, rel=0.01)


def test_the_square_that_the_model_reads_is_shown_beside_the_original(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.9, size=(200, 400)))
    page.locator("[name=mode][value=square]").check()
    expect_all(page, {"fact-square": "Stretched to 64 × 64"})
    original, square = box(page, "[data-view=image] canvas"), box(page, "#base")
    assert original["width"] / original["height"] == pytest.approx(2, rel=0.01)
    assert square == box(page, "#map") and square["width"] == pytest.approx(square["height"])
    assert original["x"] + original["width"] <= square["x"]
    assert page.evaluate("[document.getElementById('base').width, document.getElementById('base').height]") == [64, 64]
    page.locator("[name=mode][value=overlay]").check()
    assert box(page, "#base")["width"] == pytest.approx(2 * box(page, "#base")["height"], rel=0.01)


def test_an_image_is_kept_with_its_map_beside_the_next_one(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    compare = page.locator("[data-tool=keep]")
    expect(compare).to_be_disabled()
    predict(page, files(0.9))
    mapped = page.locator("#base").evaluate("c => c.getContext('2d').getImageData(20, 20, 1, 1).data[0]")
    compare.click()
    predict(page, files(0.01))
    expect(page.locator("#fact-kept")).to_contain_text("drawn-0-0.9.png: pneumonia, 90 %")
    expect(page.locator("#fact-name")).to_contain_text("drawn-0-0.01.png")
    kept, now = box(page, "#kept"), box(page, "#base")
    assert kept["x"] + kept["width"] <= now["x"] and kept["width"] == pytest.approx(now["width"], rel=0.01)
    pixel = page.locator("#kept").evaluate("c => [...c.getContext('2d').getImageData(20, 20, 1, 1).data]")
    assert pixel[0] != pixel[2] and mapped  # a colour of the map over the grey picture
    compare.click()
    expect(page.locator("[data-view=kept]")).to_be_hidden()


def test_the_first_filters_answer_to_this_very_image(open_page: OpenPage, files: WriteImages) -> None:
    page = open_page()
    expect(page.locator("#figure-responses")).to_be_hidden()
    pictures = []
    for probability in (0.9, 0.01):
        predict(page, files(probability, size=(200, 400)))
        expect(page.locator("#responses span")).to_have_count(8)
        pictures.append(page.locator("#responses canvas").first.evaluate("canvas => canvas.toDataURL()"))
    assert pictures[0] != pictures[1]


def test_a_map_whose_evidence_lies_outside_the_middle_comes_with_a_warning(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    for inside, warned in ((True, False), (False, True)):
        picture = np.full((280, 280), 128, dtype=np.uint8)
        picture[80:200, 80:200] = 255 if inside else 128
        picture[:20] = 128 if inside else 255
        picture[::2, 0] = 0  # contrast
        (tmp_path / "one.png").write_bytes(encode(picture))
        predict(page, str(tmp_path / "one.png"))
        found = page.locator("#place")
        if warned:
            expect(found).to_contain_text("lies in the outer part of the picture")
        else:
            expect(found).not_to_contain_text("outer part")


def test_a_turned_jpeg_is_shown_as_the_service_reads_it(open_page: OpenPage, tmp_path: Path) -> None:
    picture = Image.fromarray(image_for(0.5, size=(200, 300)))
    picture.paste(255, (0, 0, 100, 200))  # bright at the left of the file; at the top once it is turned
    exif = picture.getexif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpeg"
    path.write_bytes(encode(picture, "JPEG", exif=exif.tobytes(), quality=95))
    page = predict(open_page(), str(path))
    expect_all(page, {"fact-size": "200 × 300"})
    pixels = map_pixels(page).reshape(224, 224, 4)
    assert pixels[20, :, 3].mean() > pixels[200, :, 3].mean() + 50


def test_cells_show_the_true_squares_and_the_slider_the_strength_of_the_map(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.9))
    page.get_by_label("Strength of the map").fill("20")
    expect(page.get_by_label("Strength of the map")).to_have_attribute("aria-valuetext", "20 percent")
    expect(page.locator("#map")).to_have_css("opacity", "0.2")
    expect_all(page, {"fact-map": "map 20 %"})
    page.get_by_role("button", name="Cells").click()
    assert page.evaluate("[document.getElementById('map').width, document.getElementById('map').height]") == [7, 7]
    expect(page.locator("#cell-values span")).to_have_count(49)
    page.locator("#cells-table summary").click()
    expect(page.locator("#cells td")).to_have_count(50)


def test_every_key_works_on_the_stage_and_none_elsewhere(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.9))
    page.keyboard.press("i")
    stage = page.locator("#stage")
    expect(stage).not_to_have_class(re.compile("inverted"))
    stage.focus()
    page.keyboard.press("s")
    expect(stage).to_have_attribute("data-mode", "side")
    page.keyboard.press("s")
    expect(stage).to_have_attribute("data-mode", "overlay")
    page.keyboard.press("k")
    expect(page.locator("[data-view=kept]")).to_be_visible()
    page.keyboard.press("k")
    expect(page.locator("[data-view=kept]")).to_be_hidden()
    for key, name in (("i", "inverted"), ("c", "celled")):
        page.keyboard.press(key)
        expect(stage).to_have_class(re.compile(name))
        page.keyboard.press(key)
        expect(stage).not_to_have_class(re.compile(name))
    page.keyboard.press("m")
    expect(stage).not_to_have_class(re.compile("mapped"))
    page.keyboard.press("]")
    expect_all(page, {"fact-map": "map 60 %"})
    page.keyboard.press("+")
    assert zoom(page) == "125 %"
    before = box(page, "#base")["x"]
    page.keyboard.press("Shift+ArrowLeft")
    assert box(page, "#base")["x"] > before
    page.keyboard.press("0")
    assert zoom(page) == "100 %"
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).to_be_hidden()


def test_the_mouse_pans_and_zooms_only_where_it_is_meant_to_and_buttons_do_too(open_page: OpenPage, files: WriteImages) -> None:
    page = predict(open_page(), files(0.9))
    stage = box(page, "#stage")
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    assert zoom(page) == "100 %"  # the wheel scrolls the page until the stage has the focus
    page.locator("#stage").focus()
    y = box(page, "#stage")["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    expect_all(page, {"fact-zoom": "zoom 125 %"})
    page.keyboard.press("0")
    page.mouse.dblclick(x, y)
    assert zoom(page) == "200 %"
    before = box(page, "#base")
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    after = box(page, "#base")
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (40, 30)
    page.get_by_role("button", name="Pan left").click()
    assert box(page, "#base")["x"] > after["x"]

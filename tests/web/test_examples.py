"""What a visitor without an X-ray can do: the model folder's examples, one click each."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import encode, running_service
from tests.web.conftest import SIZES, OpenPage, WriteImages, box, expect_all, expect_state, fake_answer, fits, predict, upload
from tests.web.model import image_for, write_model

EXAMPLES = {  # made up: file, label, probability that the model gives it, what to look for
    "normal-1.jpeg": ("NORMAL", 0.01, "Look for dark lungs."),
    "pneumonia-1.jpeg": ("PNEUMONIA", 0.93, "Look for a white cloud."),
    "pneumonia-2.jpeg": ("PNEUMONIA", 0.4, "Look for a faint cloud."),
}


@pytest.fixture(scope="module")
def with_examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    images = [
        {"file": file, "label": label, "uncertain": probability == 0.4, "look": look}
        for file, (label, probability, look) in EXAMPLES.items()
    ]
    model = write_model(tmp_path_factory.mktemp("examples"), metrics={"examples": {"images": images}})
    (model / "examples").mkdir()
    for file, (_, probability, _) in EXAMPLES.items():
        (model / "examples" / file).write_bytes(encode(image_for(probability), "JPEG", quality=95))
    with running_service(model=model) as client:
        yield client


@pytest.fixture
def open_with(open_page: OpenPage, with_examples: httpx.Client) -> OpenPage:
    return lambda *given, **options: open_page(*given, url=str(with_examples.base_url), **options)


def shown(page: Page) -> list[bool]:
    """Of each example's words, whether they are seen."""
    return [page.locator(".example span").nth(index).is_visible() for index in range(len(EXAMPLES))]


def test_one_click_gives_an_answer_and_says_that_the_image_is_of_no_one(open_with: OpenPage) -> None:
    page = open_with()
    expect(page.locator(".example")).to_have_count(3)
    expect(page.locator("#examples-look")).to_contain_text("Synthetic X-rays, of no one")
    assert shown(page) == [True] * 3
    expect(page.locator(".example b")).to_have_text(["Normal", "Pneumonia", "Pneumonia?"])
    page.locator(".example").nth(1).click()
    expect_state(page, "result")
    expect_all(page, {"label": "Pneumonia", "examples-look": "Synthetic, of no one. Look for a white cloud."})
    expect(page.locator("#fact-name")).to_have_text("Example 2, synthetic")
    assert shown(page) == [False] * 3  # a row of thumbnails now
    page.emulate_media(media="print")
    expect(page.locator("#examples-look")).to_be_visible()
    expect(page.locator("#examples-list")).to_be_hidden()
    page.emulate_media(media="screen")
    page.locator(".example").nth(0).click()
    expect_all(page, {"label": "Normal"})
    assert page.locator(".example").evaluate_all("all => all.map(each => each.ariaPressed)") == ["true", "false", "false"]


def test_an_image_of_ones_own_is_not_called_synthetic(open_with: OpenPage, files: WriteImages) -> None:
    page = open_with()
    page.locator(".example").nth(1).click()
    expect_state(page, "result")
    predict(page, files(0.93))
    expect(page.locator("#fact-name")).not_to_contain_text("synthetic")
    expect(page.locator("#examples-look")).to_contain_text("Synthetic X-rays, of no one")
    expect(page.locator(".example[aria-pressed=true]")).to_have_count(0)
    page.emulate_media(media="print")
    expect(page.locator("#examples")).to_be_hidden()


@pytest.mark.parametrize("size", SIZES)
def test_the_first_screen_shows_examples_and_how_to_drop_and_no_tools_without_use(open_with: OpenPage, size: str) -> None:
    page = open_with(size)
    expect(page.locator("#message")).to_contain_text("or try one of those below")
    expect(page.locator("#message")).not_to_contain_text("drawing")
    expect(page.locator(".tools")).to_be_hidden()
    assert fits(page)
    if size == "desk":
        expect(page.locator(".example").last).to_be_in_viewport(ratio=1)
        assert box(page, "#frame")["height"] < 320
    page.locator(".example").first.click()
    expect_state(page, "result")
    expect(page.locator(".tools")).to_be_visible()
    assert fits(page)


def test_who_looks_first_is_not_told_what_an_example_is(open_with: OpenPage) -> None:
    page = open_with()
    page.get_by_label("Look first").check()
    assert shown(page) == [False] * 3
    page.locator(".example").nth(1).click()
    expect(page.locator("#look")).to_be_visible()
    expect(page.locator("#fact-name")).to_have_text("Example 2, synthetic")
    expect(page.locator("#examples-look .look")).to_be_hidden()
    page.locator("#look-choices button").first.click()
    expect(page.locator("#examples-look .look")).to_be_visible()


def test_an_example_that_comes_late_does_not_replace_ones_own_image(open_with: OpenPage, files: WriteImages) -> None:
    page = open_with()
    held: list[Route] = []
    page.route("**/examples/pneumonia-1.jpeg", lambda route: held.append(route))
    page.locator(".example").nth(1).click()
    predict(page, files(0.01))
    held[0].continue_()
    page.wait_for_timeout(300)
    expect_all(page, {"label": "Normal"})
    expect(page.locator("#fact-name")).not_to_contain_text("synthetic")


def test_an_example_that_cannot_be_fetched_is_a_problem_with_a_way_on(open_with: OpenPage) -> None:
    page = open_with()
    fake_answer(page, 404, path="/examples/")
    page.locator(".example").first.click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_model_without_examples_offers_the_drawing(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#examples")).to_be_hidden()
    expect(page.locator("#message")).to_contain_text("Send a drawing")


def test_the_service_lists_and_serves_the_examples_and_nothing_else(with_examples: httpx.Client, service: httpx.Client) -> None:
    assert with_examples.get("/model-info").json()["running"]["examples"] == sorted(EXAMPLES)
    answer = with_examples.get("/examples/normal-1.jpeg").raise_for_status()
    assert answer.headers["content-type"] == "image/jpeg"
    assert "content-encoding" not in answer.headers
    for path in ("/examples/none.jpeg", "/examples/..%2fmodel.json", "/examples/"):
        assert with_examples.get(path).status_code == 404
    assert service.get("/model-info").json()["running"]["examples"] == []
    assert service.get("/examples/normal-1.jpeg").status_code == 404


def test_a_first_visit_leaves_the_examples_where_a_dropped_image_goes(open_with: OpenPage, files: WriteImages) -> None:
    page = open_with()
    upload(page, [*files(0.93, 0.01)])
    expect(page.locator("#batch-words")).to_contain_text("2 of 2")
    expect(page.locator("#examples")).to_be_visible()


def test_the_file_names_of_examples_are_data_and_not_markup(tmp_path: Path, open_page: OpenPage) -> None:
    name = "a&b'<i>.jpeg"
    images = [{"file": name, "label": "NORMAL", "uncertain": False, "look": "<b>Look</b>"}]
    model = write_model(tmp_path, metrics={"examples": {"images": images}})
    (model / "examples").mkdir()
    (model / "examples" / name).write_bytes(encode(image_for(0.01), "JPEG", quality=95))
    with running_service(model=model) as client:
        page = open_page(url=str(client.base_url))
        page.locator(".example").click()
        expect_state(page, "result")
        expect_all(page, {"label": "Normal", "examples-look": "Synthetic, of no one. <b>Look</b>"})

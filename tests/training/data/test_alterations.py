import pickle

import numpy as np
import pytest

from service.model.classifier import GreyImage
from tests.conftest import grey
from training.data import alterations, out_of_distribution


@pytest.fixture(scope="module")
def image() -> GreyImage:
    return grey(300, 240)


@pytest.mark.parametrize("name", alterations.CHANGES)
def test_a_change_changes_the_image_the_same_way_each_time_and_not_the_original(name: str, image: GreyImage) -> None:
    before = image.copy()
    changed, again = (alterations.CHANGES[name](image) for _ in range(2))
    assert changed.dtype == np.uint8
    assert changed.ndim == 2
    assert np.array_equal(changed, again)
    assert not np.array_equal(changed, image)
    assert np.array_equal(image, before)


def test_changes_go_to_the_loaders_of_any_system() -> None:
    assert list(pickle.loads(pickle.dumps(alterations.CHANGES))) == list(alterations.CHANGES)  # processes are spawned on some


def test_changes_do_what_they_are_called() -> None:
    image = np.tile(np.linspace(50, 200, 100).astype(np.uint8), (100, 1))
    assert alterations.dark(image).mean() < image.mean() < alterations.bright(image).mean()
    assert alterations.low_contrast(image).std() < image.std() < alterations.high_contrast(image).std()
    assert np.array_equal(alterations.part(image, 0.8, 0, 0), image[:80, :80])
    assert np.array_equal(alterations.part(image, 0.8, 1, 1), image[20:, 20:])
    assert np.array_equal(alterations.part(image, 0.5, 0.5, 0.5), image[25:75, 25:75])
    assert alterations.frame(image).shape == (120, 120)
    assert alterations.mask_corners(image)[0, 0] == int(np.median(image))
    assert alterations.mask_corners(image)[50, 50] == image[50, 50]


def test_odd_images_are_grey_and_large_enough_to_be_served(image: GreyImage) -> None:
    kinds = out_of_distribution.odd_images([image, image[:200]])
    assert {kind: len(images) for kind, images in kinds.items()} == {
        "turned by 90°": 2, "turned by 180°": 2, "inverted": 2, "crop below a tenth": 2,
        "drawn document": 50, "noise": 96, "photograph": 80,
    }  # fmt: skip
    for images in kinds.values():
        assert all(picture.dtype == np.uint8 and picture.ndim == 2 and min(picture.shape) >= 32 for picture in images)
    assert all(picture.size < image.size / 10 for picture in kinds["crop below a tenth"])
    assert np.array_equal(kinds["turned by 180°"][0], image[::-1, ::-1])


def test_documents_are_mostly_paper_and_no_two_alike() -> None:
    rng = np.random.default_rng(0)
    pages = [out_of_distribution.document(rng) for _ in range(5)]
    assert all(np.median(page) > 200 and page.min() < 100 for page in pages)
    assert len({page.tobytes() for page in pages}) == 5

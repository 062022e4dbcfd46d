"""Images that are altered or drawn: alterations, phantoms, and images that are no chest X-rays."""

import pickle

import numpy as np
import pytest

from tests.conftest import grey
from training.data import out_of_distribution, phantoms
from training.data.alterations import ALTERATIONS

SLOPE = np.tile(np.linspace(50, 200, 100).astype(np.uint8), (100, 1))


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_changes_a_copy_and_is_the_same_each_time_and_in_a_process_that_is_spawned(name: str) -> None:
    image = grey(300, 240)
    altered, again = ALTERATIONS[name](image), pickle.loads(pickle.dumps(ALTERATIONS[name]))(image)
    assert altered.dtype == np.uint8 and altered.ndim == 2 and np.array_equal(altered, again)
    assert not np.array_equal(altered, image) and np.array_equal(image, grey(300, 240))


def test_alterations_do_what_their_names_say() -> None:
    altered = {name: alter(SLOPE) for name, alter in ALTERATIONS.items()}
    assert altered["dark (gamma 1.5)"].mean() < SLOPE.mean() < altered["bright (gamma 0.67)"].mean()
    assert altered["low contrast"].std() < SLOPE.std() < altered["high contrast"].std()
    assert np.array_equal(altered["upper left 80 %"], SLOPE[:80, :80])
    assert np.array_equal(altered["lower right 80 %"], SLOPE[20:, 20:])
    assert np.array_equal(altered["middle 70 % of each side"], SLOPE[15:85, 15:85])
    assert altered["black frame"].shape == (120, 120)
    masked = altered["corners masked"]
    assert (masked[0, 0], masked[50, 50]) == (int(np.median(SLOPE)), SLOPE[50, 50])


def test_phantoms_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    first, again, other = (phantoms.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and first.shape != other.shape


def test_images_that_are_no_x_rays_are_grey_large_enough_to_be_served_and_no_two_alike() -> None:
    kinds = out_of_distribution.images()
    assert {kind: len(images) for kind, images in kinds.items()} == {"drawn document": 50, "noise": 96, "photograph": 80}
    for images in kinds.values():
        assert all(image.dtype == np.uint8 and image.ndim == 2 and min(image.shape) >= 32 for image in images)
        assert len({image.tobytes() for image in images}) == len(images)
    assert all(np.median(page) > 200 and page.min() < 100 for page in kinds["drawn document"])  # mostly paper

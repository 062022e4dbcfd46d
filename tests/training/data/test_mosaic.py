"""Images that are drawn from a set without being one of it."""

import numpy as np
import pytest
import torch

from training.data import mosaic, phantoms
from training.report.bootstrap import Floats
from training.tools.synthesise import resize

SIDE = 96


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return mosaic.standardise(torch.from_numpy(np.stack([resize(phantoms.draw(rng, sick=False), SIDE) for _ in range(40)])))


def correlations(drawn: torch.Tensor, images: torch.Tensor) -> Floats:
    return np.array([np.corrcoef(drawn.ravel(), image.ravel())[0, 1] for image in images])


def test_a_window_reaches_as_far_as_the_image_does() -> None:
    values = torch.from_numpy(np.random.default_rng(0).random((2, 9, 9), dtype=np.float32))
    found = mosaic.window_mean(values, 2)
    for y, x in ((0, 0), (4, 4), (8, 3)):
        window = values[:, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        assert found[:, y, x].numpy() == pytest.approx(window.mean((1, 2)).numpy(), abs=1e-5)
    assert torch.allclose(mosaic.window_mean(values, 0), values, atol=1e-5)


def test_a_drawn_image_is_whole_and_is_none_of_those_it_was_drawn_from(images: torch.Tensor) -> None:
    drawn = mosaic.draw(images, seed=1)
    among_themselves = [np.delete(correlations(image, images), at).max() for at, image in enumerate(images)]
    assert 0.5 < correlations(drawn.pixels, images).max() < 0.995
    assert correlations(drawn.pixels, images).mean() > np.mean(among_themselves) - 0.2, "it looks like them"
    assert 1 / len(images) <= drawn.largest_share < 0.6, "no image has most of the pixels"
    assert float(drawn.pixels.std()) == pytest.approx(1, abs=0.25)


def test_a_seed_gives_the_same_image_again_and_another_seed_another(images: torch.Tensor) -> None:
    first, again, other = (mosaic.draw(images, seed).pixels for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_from_one_image_comes_that_image(images: torch.Tensor) -> None:
    drawn = mosaic.draw(images[:1], seed=0)
    assert torch.allclose(drawn.pixels, images[0], atol=1e-4) and drawn.largest_share == 1

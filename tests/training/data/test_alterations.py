import pickle

import numpy as np
import pytest

from service.model.classifier import GreyImage
from tests.conftest import grey
from training.data.alterations import ALTERATIONS

SLOPE = np.tile(np.linspace(50, 200, 100).astype(np.uint8), (100, 1))


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_changes_a_copy_and_is_the_same_each_time(name: str) -> None:
    image = grey(300, 240)
    altered = ALTERATIONS[name](image)
    assert altered.dtype == np.uint8 and altered.ndim == 2
    assert np.array_equal(altered, ALTERATIONS[name](image))
    assert not np.array_equal(altered, image) and np.array_equal(image, grey(300, 240))


def test_alterations_can_be_sent_to_processes_that_are_spawned() -> None:
    assert list(pickle.loads(pickle.dumps(ALTERATIONS))) == list(ALTERATIONS)


def test_alterations_do_what_their_names_say() -> None:
    altered: dict[str, GreyImage] = {name: alter(SLOPE) for name, alter in ALTERATIONS.items()}
    assert altered["dark (gamma 1.5)"].mean() < SLOPE.mean() < altered["bright (gamma 0.67)"].mean()
    assert altered["low contrast"].std() < SLOPE.std() < altered["high contrast"].std()
    assert np.array_equal(altered["upper left 80 %"], SLOPE[:80, :80])
    assert np.array_equal(altered["lower right 80 %"], SLOPE[20:, 20:])
    assert np.array_equal(altered["middle 70 % of each side"], SLOPE[15:85, 15:85])
    assert altered["black frame"].shape == (120, 120)
    assert altered["corners masked"][0, 0] == int(np.median(SLOPE))
    assert altered["corners masked"][50, 50] == SLOPE[50, 50]

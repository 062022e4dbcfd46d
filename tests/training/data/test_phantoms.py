import numpy as np

from training.data import phantoms


def test_phantoms_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    first, again, other = (phantoms.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != other.shape

import numpy as np

from training.data import phantoms
from training.data.manifest import Record


def test_phantoms_are_the_same_for_the_same_seed() -> None:
    first, again, other = (phantoms.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_phantoms_vary_in_size(records: list[Record]) -> None:
    assert len({(record.width, record.height) for record in records}) > 70

import numpy as np

from training.data import out_of_distribution


def test_images_are_grey_large_enough_to_be_served_and_no_two_alike() -> None:
    kinds = out_of_distribution.images()
    assert {kind: len(images) for kind, images in kinds.items()} == {"drawn document": 50, "noise": 96, "photograph": 80}
    for images in kinds.values():
        assert all(image.dtype == np.uint8 and image.ndim == 2 and min(image.shape) >= 32 for image in images)
        assert len({image.tobytes() for image in images}) == len(images)
    assert all(np.median(page) > 200 and page.min() < 100 for page in kinds["drawn document"])  # mostly paper

import numpy as np

from training.data import out_of_distribution


def test_images_are_grey_and_large_enough_to_be_served() -> None:
    kinds = out_of_distribution.images()
    assert {kind: len(images) for kind, images in kinds.items()} == {"drawn document": 50, "noise": 96, "photograph": 80}
    for images in kinds.values():
        assert all(image.dtype == np.uint8 and image.ndim == 2 and min(image.shape) >= 32 for image in images)


def test_documents_are_mostly_paper_and_no_two_alike() -> None:
    rng = np.random.default_rng(0)
    pages = [out_of_distribution.document(rng) for _ in range(5)]
    assert all(np.median(page) > 200 and page.min() < 100 for page in pages)
    assert len({page.tobytes() for page in pages}) == 5

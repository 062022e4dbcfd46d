"""Images that are no good chest X-rays: what novelty is measured on. All uint8 [height, width]."""

from collections.abc import Sequence

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from service.model.classifier import GreyImage
from training.data.alterations import grey_levels

CROPS_OF_A_PHOTOGRAPH = 4


def small_crop(image: GreyImage) -> GreyImage:
    """A place of 4–9 % of the area."""
    rng = np.random.default_rng(int(image.sum()))
    return _crop(image, rng, rng.uniform(0.04, 0.09))


def odd_images(xrays: Sequence[GreyImage]) -> dict[str, list[GreyImage]]:
    """By kind; those that are made of X-rays, as many as there are."""
    rng = np.random.default_rng(0)
    return {
        "turned by 90°": [np.rot90(image) for image in xrays],
        "turned by 180°": [np.rot90(image, 2) for image in xrays],
        "inverted": [255 - image for image in xrays],
        "crop below a tenth": [small_crop(image) for image in xrays],
        "drawn document": [document(rng) for _ in range(50)],
        "noise": [noise_image(rng, blocks) for blocks in (2, 4, 8, 16, 32, 64, 128, 256) for _ in range(12)],
        "photograph": photographs(rng),
    }


def document(rng: np.random.Generator) -> GreyImage:
    """A page with lines of words, perhaps a table."""
    width = int(rng.integers(400, 900))
    page = Image.new("L", (width, int(width * rng.uniform(1.1, 1.5))), int(rng.integers(225, 256)))
    pen = ImageDraw.Draw(page)
    size = int(rng.integers(12, 26))
    font = ImageFont.load_default(size)
    step, margin = int(size * rng.uniform(1.3, 2)), width // 12
    ink = int(rng.integers(0, 80))
    for top in range(margin, page.height - margin, step):
        words = ["".join(rng.choice(list("abcdefghijklmnorstuvwz"), rng.integers(2, 11))) for _ in range(rng.integers(3, 14))]
        pen.text((margin, top), " ".join(words), fill=ink, font=font)
        if rng.random() < 0.1:
            pen.line((margin, top, width - margin, top), fill=ink)
    return np.asarray(page)


def noise_image(rng: np.random.Generator, blocks: int) -> GreyImage:
    """Normal noise of `blocks` independent values along each side, drawn to 256 × 256."""
    values = Image.fromarray(grey_levels(rng.normal(rng.uniform(80, 170), rng.uniform(20, 70), (blocks, blocks))))
    return np.asarray(values.resize((256, 256), Image.Resampling.BICUBIC))


def photographs(rng: np.random.Generator) -> list[GreyImage]:
    """Those that scikit-image and scikit-learn bring along: each whole, and four crops of a third of its area or more."""
    data = skimage.data
    sources = (
        data.astronaut, data.brick, data.camera, data.chelsea, data.clock, data.coffee, data.coins, data.grass, data.gravel,
        data.hubble_deep_field, data.immunohistochemistry, data.moon, data.retina, data.rocket,
    )  # fmt: skip
    pictures = [np.asarray(source()) for source in sources]  # type: ignore[no-untyped-call]  # scikit-image has no types
    pictures += load_sample_images().images
    wholes = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures]
    crops = [_crop(whole, rng, rng.uniform(1 / 3, 1)) for whole in wholes for _ in range(CROPS_OF_A_PHOTOGRAPH)]
    return [*wholes, *crops]


def _crop(image: GreyImage, rng: np.random.Generator, area: float) -> GreyImage:
    height, width = (max(32, round(side * area**0.5)) for side in image.shape)
    top, left = rng.integers(0, image.shape[0] - height + 1), rng.integers(0, image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]

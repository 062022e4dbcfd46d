"""Images that are no chest X-rays, to measure novelty on: documents, noise, photographs. All are uint8 [height, width]."""

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from service.model.classifier import GreyImage
from training.data.alterations import grey_levels


def images() -> dict[str, list[GreyImage]]:
    """By kind; the same images at every call."""
    rng = np.random.default_rng(0)
    return {
        "drawn document": [document(rng) for _ in range(50)],
        "noise": [noise(rng, blocks) for blocks in (2, 4, 8, 16, 32, 64, 128, 256) for _ in range(12)],
        "photograph": photographs(rng),
    }


def document(rng: np.random.Generator) -> GreyImage:
    """A page with lines of random words and some rules."""
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


def noise(rng: np.random.Generator, blocks: int) -> GreyImage:
    """Normal noise of `blocks` independent values along each side, enlarged to 256 × 256."""
    values = Image.fromarray(grey_levels(rng.normal(rng.uniform(80, 170), rng.uniform(20, 70), (blocks, blocks))))
    return np.asarray(values.resize((256, 256), Image.Resampling.BICUBIC))


def photographs(rng: np.random.Generator) -> list[GreyImage]:
    """The photographs that come with scikit-image and scikit-learn, and four crops of each, of a third of its area or more."""
    data = skimage.data
    sources = (
        data.astronaut, data.brick, data.camera, data.chelsea, data.clock, data.coffee, data.coins, data.grass, data.gravel,
        data.hubble_deep_field, data.immunohistochemistry, data.moon, data.retina, data.rocket,
    )  # fmt: skip
    pictures = [*(source() for source in sources), *load_sample_images().images]  # type: ignore[no-untyped-call]  # no types
    whole = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures]
    crops = [_crop(image, rng, rng.uniform(1 / 3, 1)) for image in whole for _ in range(4)]
    return [*whole, *crops]


def _crop(image: GreyImage, rng: np.random.Generator, area: float) -> GreyImage:
    height, width = (round(side * area**0.5) for side in image.shape)
    top, left = rng.integers(0, image.shape[0] - height + 1), rng.integers(0, image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]

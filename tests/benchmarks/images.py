"""The images that servers are asked for: drawings of chests (phantoms) from a fixed seed, as three kinds of files."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from service.model.classifier import GreyImage
from tests import conftest
from training.data import phantoms


class Kind(NamedTuple):
    name: str
    file_format: str
    size: tuple[int, int]  # width, height

    @property
    def content_type(self) -> str:
        return f"image/{self.file_format.lower()}"


BIG = Kind("JPEG 1300 × 1000", "JPEG", (1300, 1000))
SMALL = Kind("JPEG 224 × 224", "JPEG", (224, 224))
PNG = Kind("PNG 2000 × 2500", "PNG", (2000, 2500))
KINDS = (BIG, SMALL, PNG)


def encode(drawing: GreyImage, kind: Kind) -> bytes:
    image = Image.fromarray(drawing).resize(kind.size, Image.Resampling.BICUBIC)
    return conftest.encode(image, kind.file_format, quality=90)


def variations(drawing: GreyImage) -> Iterator[GreyImage]:
    """As drawn, underexposed, and smooth with hard contrast: a model without phantoms in training is surer of some of them."""
    image = Image.fromarray(drawing)
    yield drawing
    yield np.asarray(ImageEnhance.Brightness(image).enhance(0.5))
    yield np.asarray(ImageEnhance.Contrast(image.filter(ImageFilter.GaussianBlur(2))).enhance(1.5))


def drawings(count: int, seed: int) -> Iterator[GreyImage]:
    """Alternates between the two labels."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield phantoms.draw(rng, sick=index % 2 == 1)

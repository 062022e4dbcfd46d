"""The images that servers are asked for: drawings of chests (phantoms) from a fixed seed, as three kinds of files."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from service.model.classifier import GreyImage
from tests import conftest
from training.data import phantoms


class Kind(NamedTuple):
    name: str
    file_format: str
    size: tuple[int, int]

    @property
    def content_type(self) -> str:
        return f"image/{self.file_format.lower()}"


BIG = Kind("JPEG 1300 × 1000", "JPEG", (1300, 1000))
SMALL = Kind("JPEG 224 × 224", "JPEG", (224, 224))
PNG = Kind("PNG 2000 × 2500", "PNG", (2000, 2500))
KINDS = (BIG, SMALL, PNG)


def drawings(count: int, seed: int = 0) -> Iterator[GreyImage]:
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield phantoms.draw(rng, sick=index % 2 == 1)


def encode(drawing: GreyImage, kind: Kind) -> bytes:
    image = Image.fromarray(drawing).resize(kind.size, Image.Resampling.BICUBIC)
    return conftest.encode(image, kind.file_format, quality=90)


def first(kind: Kind) -> bytes:
    return encode(next(drawings(1)), kind)

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
    noise: float = 0.0  # standard deviation, in grey levels

    @property
    def content_type(self) -> str:
        return f"image/{self.file_format.lower()}"


BIG = Kind("JPEG 1300 × 1000", "JPEG", (1300, 1000))
SMALL = Kind("JPEG 224 × 224", "JPEG", (224, 224))
PNG = Kind("PNG 2000 × 2500", "PNG", (2000, 2500))
# As the originals of the default model's data: of about this size, 580 kB, with the noise that makes them so large.
REAL = Kind("JPEG 1400 × 1100, noisy", "JPEG", (1400, 1100), noise=11.0)
KINDS = (BIG, SMALL, PNG, REAL)


def drawings(count: int, seed: int = 0) -> Iterator[GreyImage]:
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield phantoms.draw(rng, sick=index % 2 == 1)


def encode(drawing: GreyImage, kind: Kind) -> bytes:
    image = Image.fromarray(drawing).resize(kind.size, Image.Resampling.BICUBIC)
    if kind.noise:
        noise = np.random.default_rng(0).normal(0, kind.noise, kind.size[::-1])
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    return conftest.encode(image, kind.file_format, quality=90)


def first(kind: Kind) -> bytes:
    return encode(next(drawings(1)), kind)

"""X-rays as they might have come from elsewhere: what robustness is measured on, and a third validation is made of.

Framing has most of the places, for on the Kermany data it is what a network that never saw crops takes for health, though both
plain validations find nothing wrong with it (`crop_area` in ablation.csv).
Everything takes and gives uint8 [height, width].
"""

import io
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from service.model.classifier import GreyImage

Change: TypeAlias = Callable[[GreyImage], GreyImage]


def blur(image: GreyImage) -> GreyImage:
    """Gaussian, of a deviation of 0.7 % of the width."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.007 * image.shape[1])))


def noise(image: GreyImage) -> GreyImage:
    """Gaussian, of a deviation of 12 grey levels."""
    return grey_levels(image + np.random.default_rng(0).normal(0, 12, image.shape))


def low_contrast(image: GreyImage) -> GreyImage:
    return grey_levels(image.mean() + 0.6 * (image - image.mean()))


def high_contrast(image: GreyImage) -> GreyImage:
    return grey_levels(image.mean() + 1.4 * (image - image.mean()))


def dark(image: GreyImage) -> GreyImage:
    """Gamma 1.5."""
    return grey_levels(255 * (image / 255) ** 1.5)


def bright(image: GreyImage) -> GreyImage:
    """Gamma 0.67."""
    return grey_levels(255 * (image / 255) ** 0.67)


def jpeg(image: GreyImage) -> GreyImage:
    """Quality 30."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer).convert("L"))


def tilt(image: GreyImage) -> GreyImage:
    """By 10°, the corners filled with black."""
    return np.asarray(Image.fromarray(image).rotate(10, Image.Resampling.BILINEAR))


def part(image: GreyImage, share: float, top: float, left: float) -> GreyImage:
    """Of each side; `top` and `left` say where the rest is taken away: 0 from the other end alone, 0.5 from both alike."""
    height, width = (round(share * side) for side in image.shape)
    row, column = round(top * (image.shape[0] - height)), round(left * (image.shape[1] - width))
    return image[row : row + height, column : column + width]


def frame(image: GreyImage) -> GreyImage:
    """A black frame around it, a tenth of each side wide."""
    height, width = image.shape
    return np.pad(image, ((height // 10,) * 2, (width // 10,) * 2))


def mask_corners(image: GreyImage) -> GreyImage:
    """Where side markers stand: the corners, a sixth of each side, in the image's median grey."""
    masked = image.copy()
    height, width = image.shape[0] // 6, image.shape[1] // 6
    for rows in (slice(None, height), slice(-height, None)):
        for columns in (slice(None, width), slice(-width, None)):
            masked[rows, columns] = np.median(image)
    return masked


CHANGES: dict[str, Change] = {
    "blur": blur,
    "noise": noise,
    "low contrast": low_contrast,
    "high contrast": high_contrast,
    "dark (gamma 1.5)": dark,
    "bright (gamma 0.67)": bright,
    "JPEG, quality 30": jpeg,
    "turned by 10°": tilt,
    "middle 80 % of each side": partial(part, share=0.8, top=0.5, left=0.5),
    "middle 70 % of each side": partial(part, share=0.7, top=0.5, left=0.5),
    "upper left 80 %": partial(part, share=0.8, top=0, left=0),
    "lower right 80 %": partial(part, share=0.8, top=1, left=1),
    "black frame": frame,
    "corners masked": mask_corners,
}


def grey_levels(values: npt.NDArray[np.floating]) -> GreyImage:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)

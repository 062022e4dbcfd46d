"""Alters X-rays as those from elsewhere may differ: to measure robustness, and for the third validation.

Most of them change the framing. On the Kermany data, a network that never saw crops mistakes an unusual framing for health,
though both plain validations find nothing wrong with it (see `crop_area` in ablation.csv).

Every function takes and returns uint8 [height, width]."""

import io
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from service.model.classifier import GreyImage

Alteration: TypeAlias = Callable[[GreyImage], GreyImage]


def blur(image: GreyImage) -> GreyImage:
    """Gaussian, with a standard deviation of 0.7 % of the width."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.007 * image.shape[1])))


def noise(image: GreyImage) -> GreyImage:
    """Gaussian, with a standard deviation of 12 grey levels."""
    return grey_levels(image + np.random.default_rng(0).normal(0, 12, image.shape))


def contrast(image: GreyImage, factor: float) -> GreyImage:
    return grey_levels(image.mean() + factor * (image - image.mean()))


def gamma(image: GreyImage, exponent: float) -> GreyImage:
    return grey_levels(255 * (image / 255) ** exponent)


def jpeg(image: GreyImage, quality: int = 30) -> GreyImage:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("L"))


def tilt(image: GreyImage) -> GreyImage:
    """By 10°, with black corners."""
    return np.asarray(Image.fromarray(image).rotate(10, Image.Resampling.BILINEAR))


def crop(image: GreyImage, share: float, top: float, left: float) -> GreyImage:
    """Keeps `share` of each side. `top` and `left`: the part of what is cut off that is cut off there, from 0 to 1."""
    height, width = (round(share * side) for side in image.shape)
    row, column = round(top * (image.shape[0] - height)), round(left * (image.shape[1] - width))
    return image[row : row + height, column : column + width]


def frame(image: GreyImage) -> GreyImage:
    """Adds a black frame, a tenth of each side wide."""
    return np.pad(image, [(side // 10, side // 10) for side in image.shape])


def mask_corners(image: GreyImage) -> GreyImage:
    """Hides the side markers: paints the corners, a sixth of each side, in the image's median grey."""
    height, width = (side // 6 for side in image.shape)
    masked = np.full_like(image, np.median(image))
    masked[height:-height] = image[height:-height]
    masked[:, width:-width] = image[:, width:-width]
    return masked


ALTERATIONS: dict[str, Alteration] = {
    "blur": blur,
    "noise": noise,
    "low contrast": partial(contrast, factor=0.6),
    "high contrast": partial(contrast, factor=1.4),
    "dark (gamma 1.5)": partial(gamma, exponent=1.5),
    "bright (gamma 0.67)": partial(gamma, exponent=0.67),
    "JPEG, quality 30": jpeg,
    "turned by 10°": tilt,
    "middle 80 % of each side": partial(crop, share=0.8, top=0.5, left=0.5),
    "middle 70 % of each side": partial(crop, share=0.7, top=0.5, left=0.5),
    "upper left 80 %": partial(crop, share=0.8, top=0, left=0),
    "lower right 80 %": partial(crop, share=0.8, top=1, left=1),
    "black frame": frame,
    "corners masked": mask_corners,
}


def posterise(image: GreyImage) -> GreyImage:
    """To twelve grey levels."""
    return grey_levels(np.rint(image / 255 * 11) / 11 * 255)


def equalise(image: GreyImage) -> GreyImage:
    """So that all grey levels occur equally often."""
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


def shade(image: GreyImage) -> GreyImage:
    """Towards half the brightness in the corner that is farthest from the upper left."""
    rows, columns = (np.linspace(0, 0.25, side) for side in image.shape)
    return grey_levels(image * (1 - rows[:, None] - columns))


def shear(image: GreyImage) -> GreyImage:
    """By a seventh of the height, with black corners."""
    matrix = (1, 0.15, -0.075 * image.shape[0], 0, 1, 0)
    return np.asarray(
        Image.fromarray(image).transform(image.shape[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )


def shrink(image: GreyImage) -> GreyImage:
    """To 80 pixels in height, as a thumbnail."""
    return np.asarray(Image.fromarray(image).resize((max(32, 80 * image.shape[1] // image.shape[0]), 80)))


def letter(image: GreyImage) -> GreyImage:
    """Writes white letters into two corners, as marks of the side are."""
    picture = Image.fromarray(image)
    height, width = image.shape
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(height // 9)
    pen.text((width // 20, height // 20), "R", fill=255, font=font)
    pen.text((width - width // 4, height - height // 6), "AP", fill=255, font=font)
    return np.asarray(picture)


def collimate(image: GreyImage) -> GreyImage:
    """Hides a corner and an edge behind black, as the edges of a slanted collimator do."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    height, width = image.shape
    hidden = (rows / height + columns / width < 0.3) | (columns > 0.93 * width)
    return np.where(hidden, 0, image).astype(np.uint8)


# None of these resembles a change that training makes, so that an epoch can be chosen by them.
UNSEEN: dict[str, Alteration] = {
    "twelve grey levels": posterise,
    "equalised": equalise,
    "shaded": shade,
    "sheared": shear,
    "thumbnail": shrink,
    "letters": letter,
    "slanted collimator": collimate,
    "JPEG, quality 30": jpeg,
    "turned by 10°": tilt,
}


def grey_levels(values: npt.NDArray[np.floating]) -> GreyImage:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)

"""Draws the heat-map over the X-ray as the page does at first: in the colours of `web/viewer/heatmap.js`, without contours."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.errors import ArchiveError
from service.model.classifier import GreyImage
from service.model.prediction import Heatmap

LIGHTNESS, CHROMA = 0.7, 0.15
AGAINST, FOR = np.radians([255, 55])  # hues: blue and orange
STRENGTH = 0.55

Array = npt.NDArray[np.float64]


def write(path: Path, grey: GreyImage, heatmap: Heatmap) -> None:
    """Writes a PNG of the size of `grey`. Raises ArchiveError if it cannot be written, or if the file is there already."""
    content = io.BytesIO()
    Image.fromarray(draw(grey, heatmap)).save(content, "PNG")
    try:
        with path.open("xb") as file:
            file.write(content.getbuffer())
    except FileExistsError as error:
        raise ArchiveError(f"--heatmap {path}: is there already; remove it, or name another") from error
    except OSError as error:
        raise ArchiveError(f"--heatmap {path}: {error.strerror}") from error


def draw(grey: GreyImage, heatmap: Heatmap) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    height, width = grey.shape
    field = smooth(heatmap, height, width)
    opacity = STRENGTH * fade(field)[..., None]
    return np.rint((1 - opacity) * grey[..., None] + opacity * colours(field)).astype(np.uint8)


def smooth(heatmap: Heatmap, height: int, width: int) -> Array:
    """[height, width] from −1 to 1: bicubic between the cells, whose centres lie at (i + ½) / n; the edges continue outside."""
    rows, columns = heatmap.grid
    values = np.array(heatmap.values) / heatmap.scale
    return np.asarray((_spread(rows, height) @ values @ _spread(columns, width).T).clip(-1, 1))


def colours(field: Array) -> Array:
    """0 to 255, [..., 3]. All have the same lightness, so that the X-ray's own light and dark stay readable."""
    chroma, hue = CHROMA * np.sqrt(np.abs(field)), np.where(field < 0, AGAINST, FOR)
    return _from_oklab(LIGHTNESS, chroma * np.cos(hue), chroma * np.sin(hue))


def fade(field: Array) -> Array:
    """Opacity: weak evidence leaves the X-ray clear."""
    return np.asarray(np.abs(field) ** 1.5)


def _spread(cells: int, pixels: int) -> Array:
    """Weights [pixels, cells] of a Catmull–Rom spline."""
    place = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    first = np.floor(place).astype(int)
    f = place - first
    weights = [(2 * f**2 - f - f**3) / 2, 1 + (3 * f**3 - 5 * f**2) / 2, (f + 4 * f**2 - 3 * f**3) / 2, (f**3 - f**2) / 2]
    spread = np.zeros((pixels, cells))
    for offset, weight in enumerate(weights, -1):
        np.add.at(spread, (np.arange(pixels), (first + offset).clip(0, cells - 1)), weight)
    return spread


def _from_oklab(lightness: float, a: Array, b: Array) -> Array:
    """sRGB, 0 to 255. Source: Björn Ottosson, A perceptual color space for image processing, 2020."""
    lms = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.291485548 * b,
        ],
        axis=-1,
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = (lms**3 @ to_linear.T).clip(0, 1)
    return np.asarray(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

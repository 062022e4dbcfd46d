"""Warnings about images that do not look like a chest X-ray: in colour, tiny, of unusual shape, without contrast, inverted.

Contrast and inversion are measured on a sample of 32 × 32 pixels. In a chest X-ray the middle (spine and heart) is brighter
than the left and right edges. None of the 5,216 training images of the Kermany data has a difference below 0 standard
deviations, and their lowest contrast is 20 grey levels. The cut-off of −0.3 finds none of them and all of their negatives.
With 9 % or 16 % cut off each side it finds 0 or 0.1 % of them, and 99.6 or 99.4 % of the negatives."""

import numpy as np
import numpy.typing as npt
from PIL import Image

TINY = 224  # px, the network's square
USUAL_ASPECT = 2

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_COLOURFUL = 4  # grey levels between the channels, on average; X-rays saved in colour have 0, photographs 20 and more
_SAMPLE = 32
_MIDDLE, _EDGE = slice(12, 20), 4  # columns of the sample
_INVERTED = -0.3  # standard deviations between middle and edges
_FLAT = 5  # grey levels of standard deviation


NO_CONTRAST = "the image has nearly no contrast; there is nothing to be seen in it"
INVERTED = "the image looks inverted: air seems bright and bone dark; the model learned the opposite"
NOT_CHEST = "the file says that the image is not of the chest; the model learned from chest X-rays"
NOT_FRONTAL = "the file says that the view is not frontal; the model learned from frontal X-rays"
# Warnings of which each is a reason not to use the answer, and their codes for programs.
REASONS = {NO_CONTRAST: "no-contrast", INVERTED: "inverted", NOT_CHEST: "not-chest", NOT_FRONTAL: "not-frontal"}


def is_in_colour(image: Image.Image) -> bool:
    if image.mode in _GREY_MODES or (image.mode == "P" and image.palette is None):
        return False
    sample = image.resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST).convert("RGB")
    return bool(np.ptp(np.asarray(sample), axis=2).mean() > _COLOURFUL)


def warnings_of(grey: npt.NDArray[np.uint8], width: int, height: int, in_colour: bool = False) -> tuple[str, ...]:
    """`width`, `height` and `in_colour` describe the file; `grey`, uint8 [height, width], may have been shrunk."""
    warnings = ["the image is in colour, as photographs are; the model learned from grey X-rays"] if in_colour else []
    if min(width, height) < TINY:
        warnings.append(f"the image is tiny, {width} × {height} px; the model looks at {TINY} × {TINY}")
    if max(width, height) > USUAL_ASPECT * min(width, height):
        warnings.append(f"the image is {width} × {height} px, an unusual shape for a chest X-ray")
    rows, columns = ((np.arange(_SAMPLE) * side + side // 2) // _SAMPLE for side in grey.shape)
    sample = grey[np.ix_(rows, columns)].astype(np.float32)
    contrast = sample.std()
    edges = (sample[:, :_EDGE].mean() + sample[:, -_EDGE:].mean()) / 2
    if contrast < _FLAT:
        warnings.append(NO_CONTRAST)
    elif sample[:, _MIDDLE].mean() - edges < _INVERTED * contrast:
        warnings.append(INVERTED)
    return tuple(warnings)

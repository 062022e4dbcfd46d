"""Maps the stored values of a DICOM file to the grey levels of a screen, once for each possible value, not for each pixel.
Applied in this order: modality LUT or rescale; then VOI LUT, else the first window, else the full range of the stored bits."""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.images.dicom.header import number, raw_bytes, text
from service.images.dicom.pixels import PixelFormat

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_MIN_WIDTH = 1e-6

Floats = npt.NDArray[np.float64]


def display_lut(header: Dataset, pixel_format: PixelFormat) -> npt.NDArray[np.uint8]:
    """[2 ** bits_stored]: the grey level of each stored value; padding values are black."""
    values = np.arange(2**pixel_format.bits_stored, dtype=np.float64)
    if pixel_format.signed:
        values[len(values) // 2 :] -= len(values)
    brightness = _brightness(header, values)
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":
        brightness = 1 - brightness
    levels = np.rint(255 * np.clip(brightness, 0, 1)).astype(np.uint8)
    levels[_is_padding(header, pixel_format, values)] = 0
    return levels


def _brightness(header: Dataset, values: Floats) -> Floats:
    """0 is the darkest and 1 the brightest value that an image of this format could have, whether it occurs or not."""
    width = number(header, "WindowWidth", 0)
    if modality := header.get("ModalityLUTSequence"):
        brightness, maximum = _look_up(modality[0], values)
        values = brightness * maximum
    else:
        values = values * number(header, "RescaleSlope", 1) + number(header, "RescaleIntercept", 0)
        brightness = (values - values.min()) / (np.ptp(values) or 1)
    if voi := header.get("VOILUTSequence"):
        return _look_up(voi[0], values)[0]
    if text(header, "WindowCenter") and width > _MIN_WIDTH:
        return _window(values, number(header, "WindowCenter", 0), width, text(header, "VOILUTFunction"))
    return brightness


def _look_up(item: Dataset, values: Floats) -> tuple[Floats, float]:
    """Map values by a lookup table: the results as fractions of the table's maximum, and that maximum."""
    order = "<" if item.original_encoding[1] else ">"
    entries, first, bits = (int(entry) for entry in np.frombuffer(raw_bytes(item, _LUT_DESCRIPTOR), f"{order}u2", 3))
    entries = entries or 2**16
    if not 8 <= bits <= 16:
        raise ValueError
    if values.min() < 0 and first >= 2**15:
        first -= 2**16
    data = raw_bytes(item, _LUT_DATA)
    table = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * entries else np.uint8, entries)
    indices = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.intp)
    maximum = 2**bits - 1
    return table[indices] / maximum, maximum


def _window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """DICOM PS3.3, C.11.2.1."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / max(width - 1, _MIN_WIDTH) + 0.5


def _is_padding(header: Dataset, pixel_format: PixelFormat, values: Floats) -> npt.NDArray[np.bool_]:
    if "PixelPaddingValue" not in header:
        return np.zeros(len(values), np.bool_)
    first = number(header, "PixelPaddingValue")
    ends = [first, number(header, "PixelPaddingRangeLimit", first)]
    if pixel_format.signed:  # some programs write them as unsigned numbers
        ends = [end - 2**pixel_format.bits_allocated if end >= 2 ** (pixel_format.bits_allocated - 1) else end for end in ends]
    return (values >= min(ends)) & (values <= max(ends))

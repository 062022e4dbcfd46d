"""What the values stored in a DICOM file look like on a screen: modality LUT or rescale, then VOI LUT, else the first
window, else the full range of what the bits can hold. Worked out once for each value there can be, not for each pixel."""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.images.dicom.header import content, number, text
from service.images.dicom.pixels import Form

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_LEAST_WIDTH = 1e-6

Floats = npt.NDArray[np.float64]


def display_lut(header: Dataset, form: Form) -> npt.NDArray[np.uint8]:
    """[2 ** bits stored]: the grey level of each value; those that mean «no picture here» are black."""
    values = np.arange(2**form.bits_stored, dtype=np.float64)
    if form.signed:
        values[len(values) // 2 :] -= len(values)
    shares = _shares(header, values)
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":
        shares = 1 - shares
    levels = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    levels[_is_padding(header, form, values)] = 0
    return levels


def _shares(header: Dataset, values: Floats) -> Floats:
    """0 the darkest, 1 the brightest that an image of this kind could have, whether this one does or not."""
    width = number(header, "WindowWidth", 0)
    if modality := header.get("ModalityLUTSequence"):
        shares, most = _look_up(modality[0], values)
        values = shares * most
    else:
        values = values * number(header, "RescaleSlope", 1) + number(header, "RescaleIntercept", 0)
        shares = (values - values.min()) / (np.ptp(values) or 1)
    if voi := header.get("VOILUTSequence"):
        return _look_up(voi[0], values)[0]
    if text(header, "WindowCenter") and width > _LEAST_WIDTH:
        return _window(values, number(header, "WindowCenter", 0), width, text(header, "VOILUTFunction"))
    return shares


def _look_up(item: Dataset, values: Floats) -> tuple[Floats, float]:
    """What a table makes of the values, as shares of the most that it can say; and that most."""
    order = "<" if item.original_encoding[1] else ">"
    entries, first, bits = (int(entry) for entry in np.frombuffer(content(item, _LUT_DESCRIPTOR), f"{order}u2", 3))
    entries = entries or 2**16
    if not 8 <= bits <= 16:
        raise ValueError
    if values.min() < 0 and first >= 2**15:
        first -= 2**16
    data = content(item, _LUT_DATA)
    table = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * entries else np.uint8, entries)
    places = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.intp)
    most = 2**bits - 1
    return table[places] / most, most


def _window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """PS3.3, C.11.2.1."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / max(width - 1, _LEAST_WIDTH) + 0.5


def _is_padding(header: Dataset, form: Form, values: Floats) -> npt.NDArray[np.bool_]:
    if "PixelPaddingValue" not in header:
        return np.zeros(len(values), np.bool_)
    first = number(header, "PixelPaddingValue")
    ends = [first, number(header, "PixelPaddingRangeLimit", first)]
    if form.signed:  # some write them as unsigned all the same
        ends = [end - 2**form.bits_allocated if end >= 2 ** (form.bits_allocated - 1) else end for end in ends]
    return (values >= min(ends)) & (values <= max(ends))

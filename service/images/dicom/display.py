"""Maps the stored values of a DICOM file to the grey levels of a screen, once for each possible value, not for each pixel.
Applied in this order, as viewers do: modality LUT or rescale; then VOI LUT, else the first window, else the image's own range
(DICOM PS3.3, C.11.1 and C.11.2). What is empty, damaged or would show nothing counts as absent, and a warning says so."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.images.dicom.header import first_item, number, raw_bytes, text
from service.images.dicom.pixels import PixelFormat

_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Display(NamedTuple):
    """`levels` uint8 [2 ** bits_stored]: the grey level of each stored value; padding values are black."""

    levels: npt.NDArray[np.uint8]
    warnings: list[str]


class _Table(NamedTuple):
    """A lookup table's result for each value, from 0 to `maximum`."""

    results: Floats
    maximum: float


def display_of(header: Dataset, pixel_format: PixelFormat, occurring: Bools) -> Display:
    """`occurring` [2 ** bits_stored]: whether a pixel of the image has the stored value."""
    values = np.arange(2**pixel_format.bits_stored, dtype=np.float64)
    if pixel_format.signed:
        values[len(values) // 2 :] -= len(values)
    padding = _is_padding(header, pixel_format, values)
    shown = occurring & ~padding if (occurring & ~padding).any() else occurring
    warnings: list[str] = []
    brightness = _brightness(header, values, shown, warnings)
    if text(header, "PhotometricInterpretation") == "MONOCHROME1":
        brightness = 1 - brightness
    levels = np.rint(255 * np.clip(brightness, 0, 1)).astype(np.uint8)
    levels[padding] = 0
    return Display(levels, warnings)


def _brightness(header: Dataset, values: Floats, shown: Bools, warnings: list[str]) -> Floats:
    """0 is the darkest and 1 the brightest."""
    modality = _look_up(header, "ModalityLUTSequence", values, warnings)
    values = _rescale(header, values, warnings) if modality is None else modality.results
    candidates = {}
    if table := _look_up(header, "VOILUTSequence", values, warnings):
        candidates["lookup table"] = table.results / table.maximum
    if (window := _window(header, values, warnings)) is not None:
        candidates["window"] = window
    for name, brightness in candidates.items():
        if np.ptp(np.clip(brightness[shown], 0, 1)) > 0 or np.ptp(values[shown]) == 0:
            return brightness
        warnings.append(f"the file's {name} lies beside its pixel values and would show one grey; it was left out")
    if modality is not None:
        return modality.results / modality.maximum
    darkest, brightest = float(values[shown].min()), float(values[shown].max())
    return (values - darkest) / (brightest - darkest or 1)


def _rescale(header: Dataset, values: Floats, warnings: list[str]) -> Floats:
    slope, intercept = number(header, "RescaleSlope", 1), number(header, "RescaleIntercept", 0)
    if not slope:
        warnings.append("the file's RescaleSlope is 0, which would show one grey; it was left out")
        return values
    return values * slope + intercept


def _look_up(header: Dataset, keyword: str, values: Floats, warnings: list[str]) -> _Table | None:
    """None if there is no table, or if it is not whole."""
    item = first_item(header, keyword)
    if item is None:
        return None
    try:
        order = "<" if item.original_encoding[1] else ">"
        count, first, bits = (int(entry) for entry in np.frombuffer(raw_bytes(item, _LUT_DESCRIPTOR), f"{order}u2", 3))
        count = count or 2**16
        data = raw_bytes(item, _LUT_DATA)
        in_bytes = bits <= 8 and len(data) in (count, count + 1)  # with a byte that makes it even
        entries = np.frombuffer(data, np.uint8 if in_bytes else f"{order}u2", count).astype(np.float64)
    except ValueError:
        warnings.append("a lookup table of the file is empty or incomplete; it was left out")
        return None
    if values.min() < 0 and first >= 2**15:
        first -= 2**16
    # Some tables use fewer or more bits than they claim: then their own greatest entry is white.
    maximum, greatest = float(2**bits - 1), float(entries.max())
    maximum = maximum if maximum / 2 < greatest <= maximum else greatest or 1
    indices = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return _Table(entries[indices], maximum)


def _window(header: Dataset, values: Floats, warnings: list[str]) -> Floats | None:
    """DICOM PS3.3, C.11.2.1. None if there is no window, or if its width is out of range."""
    if not text(header, "WindowCenter") or not text(header, "WindowWidth"):
        return None
    centre, width, function = number(header, "WindowCenter"), number(header, "WindowWidth"), text(header, "VOILUTFunction")
    if width <= 0 or (width < 1 and function not in ("SIGMOID", "LINEAR_EXACT")):
        warnings.append("the file's WindowWidth is below its least value; the window was left out")
        return None
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))))
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, width - 1
    return (values - centre) / width + 0.5 if width else (values > centre).astype(np.float64)


def _is_padding(header: Dataset, pixel_format: PixelFormat, values: Floats) -> Bools:
    if not text(header, "PixelPaddingValue"):
        return np.zeros(len(values), np.bool_)
    first = number(header, "PixelPaddingValue")
    ends = [first, number(header, "PixelPaddingRangeLimit", first)]
    if pixel_format.signed:  # some programs write them as unsigned numbers
        ends = [end - 2**pixel_format.bits_allocated if end >= 2 ** (pixel_format.bits_allocated - 1) else end for end in ends]
    return (values >= min(ends)) & (values <= max(ends))

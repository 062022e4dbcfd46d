"""What viewers show of a DICOM file, by pydicom's own functions."""

import io

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from tests.service.images.files import GreyImage


def reference(data: bytes) -> GreyImage:
    dataset = pydicom.dcmread(io.BytesIO(data))
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    low, high = output_range(dataset) or (shown.min(), shown.max())
    brightness = np.clip((shown - low) / (high - low), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    return np.rint(255 * brightness).astype(np.uint8)


def output_range(dataset: Dataset) -> tuple[float, float] | None:
    """Of the table or the window, as pydicom documents it."""
    tables = [dataset.get(name) for name in ("VOILUTSequence", "ModalityLUTSequence")]
    if tables[0] or (tables[1] and "WindowWidth" not in dataset):
        [item, *_] = tables[0] or tables[1]
        return 0, 2 ** item.LUTDescriptor[2] - 1
    if "WindowWidth" not in dataset:
        return None
    if tables[1]:
        return 0, 2 ** tables[1][0].LUTDescriptor[2] - 1
    least, whole = -dataset.PixelRepresentation * 2 ** (dataset.BitsStored - 1), 2**dataset.BitsStored - 1
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return least * slope + intercept, (least + whole) * slope + intercept

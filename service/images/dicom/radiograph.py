"""Decodes a DICOM file to the grey levels that a radiologist's screen would show.

Supported: one frame, MONOCHROME1 or MONOCHROME2, 8 or 16 bits, signed or not; uncompressed, RLE, JPEG of 8 bits, JPEG 2000,
and with python-gdcm (the extra «dicom») lossless JPEG and JPEG-LS.
Rejected: several frames, colour, a modality other than CR, DX, RG, OT and SC, deflated files, files without a preamble.
Warned of: modality OT or SC, raw images («for processing»), a body part other than the chest, a view other than AP or PA.
What a file does not state is not held against it. Of the patient only the age is kept. No message quotes a text of the file."""

import logging
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.errors import ImageOutOfRange, RequestError, UndecodableImage
from service.images.dicom.display import display_of
from service.images.dicom.header import PIXELS, first_item, number, open_file, raw_bytes, read_header, text
from service.images.dicom.pixels import IN_SANDBOX, check_syntax, read_pixel_format, read_stored_values
from service.images.dicom.vocabulary import is_chest, is_frontal
from service.images.warnings import NOT_CHEST, NOT_FRONTAL

RADIOGRAPHY, UNSURE = {"CR", "DX", "RG", "DR"}, {"OT", "SC"}  # modalities; those below may be named in an error
OTHERS = {"CT", "ES", "IO", "KO", "MG", "MR", "NM", "OP", "PR", "PT", "PX", "RF", "SEG", "SR", "US", "XA", "XC"}

logger = logging.getLogger(__name__)

_CODE_MEANING = 0x00080104
_LATERAL = re.compile(rb"\blateral", re.IGNORECASE)
_AGE = re.compile(r"(\d{1,3})([YMWD])")
_IN_A_YEAR = {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}


class Radiograph(NamedTuple):
    """`grey` uint8 [height, width], which may be smaller than `size`, the columns and rows in the file."""

    grey: npt.NDArray[np.uint8]
    size: tuple[int, int]
    warnings: tuple[str, ...]
    age_years: float | None


def needs_sandbox(data: bytes) -> bool:
    """Whether the pixels are decoded in a process of their own."""
    try:
        return open_file(data)[1] in IN_SANDBOX
    except Exception:  # `decode` says what is wrong
        return False


def decode(data: bytes) -> Radiograph:
    """Decode a DICOM file. Raises UnsupportedImage, ImageOutOfRange, UndecodableImage or NotReady, and nothing else."""
    reading = "TransferSyntaxUID or before it"
    try:
        stream, syntax = open_file(data)
        check_syntax(syntax)
        reading = "an element before PixelData"
        header = read_header(stream, syntax)
        _check_kind(header)
        pixel_format = read_pixel_format(header)
        reading = "PixelData"
        stored = read_stored_values(data, header, pixel_format, syntax)
        reading = "WindowCenter, WindowWidth or a lookup table"
        occurring = np.zeros(2**pixel_format.bits_stored, np.bool_)
        occurring[stored] = True
        levels, warnings = display_of(header, pixel_format, occurring)
        size = (pixel_format.columns, pixel_format.rows)
        return Radiograph(levels[stored], size, (*warnings, *_warnings(header)), _age_years(header))
    except RequestError:
        raise
    except Exception as error:  # from parsers of a hundred kinds of values, whose messages could quote them
        logger.info("a DICOM file cannot be decoded", extra={"reading": reading, "error": type(error).__name__})
        raise UndecodableImage(f"the DICOM file is damaged at {reading}") from None


def _check_kind(header: Dataset) -> None:
    if PIXELS not in header:
        raise UndecodableImage("the DICOM file is truncated, or has no image: it has no PixelData")
    modality, photometric = text(header, "Modality"), text(header, "PhotometricInterpretation")
    if modality and modality not in RADIOGRAPHY | UNSURE:
        name = modality if modality in OTHERS else "another one"
        raise ImageOutOfRange(f"Modality is {name}, which is not radiography (CR, DX or RG)")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or number(header, "SamplesPerPixel", 1) != 1:
        raise ImageOutOfRange("PhotometricInterpretation must be MONOCHROME1 or MONOCHROME2, and SamplesPerPixel 1")
    if (frames := number(header, "NumberOfFrames", 1)) != 1:
        raise ImageOutOfRange(f"NumberOfFrames is {frames:.0f}; it must be 1")


def _warnings(header: Dataset) -> Iterator[str]:
    if text(header, "Modality") in UNSURE:
        yield "the file does not say that the image is a radiograph"
    if text(header, "PresentationIntentType") == "FOR PROCESSING":
        yield "the file says that the image is raw; the model learned from images made to be looked at"
    if not is_chest(text(header, "BodyPartExamined")):
        yield NOT_CHEST
    if _is_not_frontal(header):
        yield NOT_FRONTAL


def _is_not_frontal(header: Dataset) -> bool:
    if view := text(header, "ViewPosition"):
        return not is_frontal(view)
    if (code := first_item(header, "ViewCodeSequence")) and _CODE_MEANING in code:
        return bool(_LATERAL.search(raw_bytes(code, _CODE_MEANING)))
    return text(header, "PatientOrientation").startswith(("A", "P"))  # rows run to the patient's front or back


def _age_years(header: Dataset) -> float | None:
    match = _AGE.fullmatch(text(header, "PatientAge"))
    return int(match[1]) / _IN_A_YEAR[match[2]] if match else None

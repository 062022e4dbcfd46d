"""Reads the header of an untrusted DICOM file that contains a patient's data.
Only the elements in `_WANTED` are read. The number of elements, items and fragments, and the bytes of each, are limited.
pydicom is silenced, because its messages quote what it reads."""

import functools
import io
import logging
import re
import warnings

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.errors import UndecodableImage
from service.images import limits

MAX_READS = 50_000  # two or three for each element, item and fragment; an ordinary file has some hundreds of them
MAX_BYTES = 2**18  # of one element; the largest lookup table, with 65,536 entries, has half of it
MAX_NUMBER = 1e9

PIXELS = 0x7FE00010
_PREAMBLE_BYTES = 132  # including «DICM»
_META_GROUP = 2
_KEYWORDS = """
    Modality PresentationIntentType BodyPartExamined ViewPosition ViewCodeSequence PatientOrientation PatientAge
    SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope ModalityLUTSequence WindowCenter WindowWidth
    VOILUTFunction VOILUTSequence PixelData
"""
_NUMBER = re.compile(r"\[?\s*([-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:E[-+]?\d+)?)")
_WANTED = [Tag(keyword) for keyword in _KEYWORDS.split()]


class BoundedStream(io.BytesIO):
    """Raises UndecodableImage after too many reads: a hostile file holds elements, items or fragments by the million."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise UndecodableImage(f"the DICOM file has too many elements: it takes over {MAX_READS:,} reads")
        return super().read(size)


def open_file(data: bytes) -> tuple[BoundedStream, UID]:
    """The data set as a stream, and its transfer syntax. Without one, the data set must be uncompressed, and its first element
    shows whether it names the types of values."""
    _silence_pydicom()
    stream = BoundedStream(data)
    stream.seek(_PREAMBLE_BYTES if limits.has_preamble(data) else 0)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: int(tag) >> 16 != _META_GROUP, defer_size=MAX_BYTES)
    if syntax := str(meta.get("TransferSyntaxUID") or ""):
        return stream, UID(syntax)
    start = data[stream.tell() :][:6]
    return stream, ExplicitVRLittleEndian if start[4:6].isalpha() and start[4:6].isupper() else ImplicitVRLittleEndian


def read_header(stream: BoundedStream, syntax: UID) -> Dataset:
    """Read the elements in `_WANTED`, up to the pixels. Values longer than MAX_BYTES, like the pixels, are not loaded."""
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    return read_dataset(
        stream, implicit, little, stop_when=lambda tag, *_: int(tag) > PIXELS, defer_size=MAX_BYTES, specific_tags=[*_WANTED]
    )


@functools.cache
def _silence_pydicom() -> None:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def text(header: Dataset, keyword: str) -> str:
    """The first value of an element in capitals, or an empty text."""
    try:
        value: object = header.get(keyword)
    except (ValueError, TypeError, OverflowError):  # not what its type demands, such as «40,5» for a number
        value = raw_bytes(header, Tag(keyword)).decode("ascii", "replace").split("\\")[0]
    first = next(iter(value), None) if isinstance(value, MultiValue) else value
    return "" if first is None else str(first).strip(" \0").upper()


def number(header: Dataset, keyword: str, default: float | None = None) -> float:
    """The first number of an element, also where a list or a decimal comma is written as text. Raises UndecodableImage, which
    names the element, if there is none, if it is too large, or if it is missing without a default."""
    found = _NUMBER.match(value) if (value := text(header, keyword)) else None
    result = float(found[1].replace(",", ".")) if found else None if value else default
    if result is None or not abs(result) < MAX_NUMBER:
        what = "has no usable number" if value else "is missing"
        raise UndecodableImage(f"the DICOM file is damaged: {keyword} {what}")
    return result


def first_item(header: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, if there is one that is not empty."""
    items: object = header.get(keyword)
    return items[0] if isinstance(items, Sequence) and len(items) and len(items[0]) else None


def raw_element(dataset: Dataset, tag: int) -> RawDataElement:
    """An element as it is stored in the file. Raises ValueError if it is missing or a sequence."""
    element: object = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement):
        raise ValueError
    return element


def raw_bytes(dataset: Dataset, tag: int) -> bytes:
    """The bytes of an element. Raises ValueError if it is missing, empty or longer than MAX_BYTES."""
    element = raw_element(dataset, tag)
    if not element.value or element.length > MAX_BYTES:
        raise ValueError
    return element.value

"""The header of a DICOM file, read with care: a file is not to be trusted, and holds a patient's data.

Only the elements named here are taken from it. Bounded are the elements, items and fragments that are looked at, and the
bytes of each. pydicom, whose messages quote what it reads, is silenced.
"""

import functools
import io
import logging
import warnings

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from service.errors import UndecodableImage

MAX_READS = 50_000  # two or three for each element, item and fragment; an ordinary file has some hundreds of them
MAX_BYTES = 2**18  # of an element; the largest table, of 65,536 entries, has half of it
MAX_NUMBER = 1e9

PIXELS = 0x7FE00010
_PREAMBLE_BYTES = 132  # with «DICM»
_META_GROUP = 2
_WANTED = [
    Tag(keyword)
    for keyword in (
        *("Modality", "PresentationIntentType", "BodyPartExamined", "ViewPosition", "ViewCodeSequence", "PatientOrientation"),
        *("PatientAge", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
        *("BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept"),
        *("RescaleSlope", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
        "PixelData",
    )
]


class Stream(io.BytesIO):
    """Ends the reading of a file that is built to keep a parser busy: elements, items and fragments by the million."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise UndecodableImage("the DICOM file has far too many elements")
        return super().read(size)


def open_file(data: bytes) -> tuple[Stream, UID]:
    """At the first element of the data set; the transfer syntax that it is written in. AttributeError: none is named."""
    _silence()
    stream = Stream(data)
    stream.seek(_PREAMBLE_BYTES)
    meta = read_dataset(stream, False, True, stop_when=_is_after_meta, defer_size=MAX_BYTES)
    return stream, UID(str(meta.TransferSyntaxUID))


def read_header(stream: Stream, syntax: UID) -> Dataset:
    """The elements wanted, as far as the pixels. What is longer than MAX_BYTES is left where it is, as the pixels should be."""
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    return read_dataset(
        stream, implicit, little, stop_when=_is_after_pixels, defer_size=MAX_BYTES, specific_tags=[*_WANTED]
    )  # fmt: skip


@functools.cache
def _silence() -> None:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def _is_after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >> 16 != _META_GROUP


def _is_after_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > PIXELS


def text(header: Dataset, keyword: str) -> str:
    """The first value, in capitals; without one, empty."""
    value = _first(header, keyword)
    return "" if value is None else str(value).strip().upper()


def number(header: Dataset, keyword: str, default: float | None = None) -> float:
    """The first value. ValueError: it is none, or absurd, or there is none, and no default."""
    value = _first(header, keyword)
    found = default if value in (None, "") else float(str(value))
    if found is None or not abs(found) < MAX_NUMBER:
        raise ValueError
    return found


def raw(dataset: Dataset, tag: int) -> RawDataElement:
    """An element as it stands in the file. ValueError: it is not there, or is a sequence."""
    element: object = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement):
        raise ValueError
    return element


def content(dataset: Dataset, tag: int) -> bytes:
    """Its bytes. ValueError: it is not there, too long, or empty."""
    element = raw(dataset, tag)
    if not element.value or element.length > MAX_BYTES:
        raise ValueError
    return element.value


def _first(header: Dataset, keyword: str) -> object:
    value: object = header.get(keyword)
    return next(iter(value), None) if isinstance(value, MultiValue) else value

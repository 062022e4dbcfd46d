"""The pixels of a DICOM file as they are stored, from any of its transfer syntaxes."""

import importlib.util
import io
import struct
import subprocess
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from service.errors import ImageOutOfRange, NotReady, UndecodableImage, UnsupportedImage
from service.images import limits
from service.images.dicom import sandbox
from service.images.dicom.header import PIXELS, Stream, number, raw

PLAIN = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
LOSSLESS_JPEG = {uid.JPEGLossless, uid.JPEGLosslessSV1}
JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
TAKEN = PLAIN | {uid.RLELossless} | JPEG | JPEG_2000 | LOSSLESS_JPEG | JPEG_LS

_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # baseline, extended, progressive, lossless, JPEG-LS
_JPEG_2000_SIZE = b"\xff\x4f\xff\x51"

Stored = npt.NDArray[np.unsignedinteger[Any]]  # Any: of 8 or 16 bits


class Form(NamedTuple):
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool


class _Codestream(NamedTuple):
    """What a compressed picture says of itself."""

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False


def check_syntax(syntax: uid.UID) -> None:
    """Raises UnsupportedImage. The deflated syntax too: what it inflates to cannot be known before."""
    name = syntax.name if syntax in uid.AllTransferSyntaxes else "of this file"
    if syntax not in TAKEN:
        raise UnsupportedImage(f"the DICOM transfer syntax {name} is not taken")
    if syntax in LOSSLESS_JPEG | JPEG_LS and not importlib.util.find_spec("gdcm"):
        raise UnsupportedImage(f"the DICOM transfer syntax {name} is not taken here: the service runs without python-gdcm")


def form_of(header: Dataset) -> Form:
    """Raises ImageOutOfRange."""
    names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
    rows, columns, allocated, stored, signed = (int(number(header, name)) for name in names)
    limits.check_size(columns, rows)
    if allocated not in (8, 16) or not 1 <= stored <= allocated or number(header, "HighBit", stored - 1) != stored - 1:
        raise ImageOutOfRange("the pixels are not in the lower bits of 8 or 16")
    return Form(rows, columns, allocated, stored, signed == 1)


def stored_values(data: bytes, header: Dataset, form: Form, syntax: uid.UID) -> Stored:
    """[rows, columns] of the bits stored, as unsigned integers, whatever they mean."""
    element = raw(header, PIXELS)
    if not syntax.is_encapsulated:
        pixels = _plain(data, element, form, syntax)
    elif syntax == uid.RLELossless:
        pixels = _unpack(_frame(data, element), form)
    else:
        pixels = _decompress(_frame(data, element), form, syntax)
    used: Stored = np.bitwise_and(pixels, 2**form.bits_stored - 1)
    return used.reshape(form.rows, form.columns)


def _plain(data: bytes, element: RawDataElement, form: Form, syntax: uid.UID) -> Stored:
    count, width, start = form.rows * form.columns, form.bits_allocated // 8, element.value_tell
    if not 0 <= element.length - count * width <= form.columns * width:  # some write a little more
        raise UndecodableImage("the DICOM file is damaged: its pixels are not as many as its header says")
    if width == 1 and element.VR == "OW" and not syntax.is_little_endian:  # bytes by two, in swapped words
        return np.frombuffer(data, "<u2", (count + 1) // 2, start).byteswap().view(np.uint8)[:count]
    return np.frombuffer(data, f"{'<' if syntax.is_little_endian else '>'}u{width}", count, start)


def _frame(data: bytes, element: RawDataElement) -> bytes:
    """All fragments. Where they begin, the table of offsets before them says too; for one frame it is not needed."""
    stream = Stream(data)
    stream.seek(element.value_tell)
    _, table_bytes = struct.unpack("<II", stream.read(8))
    stream.seek(table_bytes, io.SEEK_CUR)
    return b"".join(generate_fragments(stream))


def _unpack(frame: bytes, form: Form) -> Stored:
    """RLE: a plane for each byte of a pixel, the higher first. By Pillow, which writes no more than there is room for, where
    pydicom expands whatever it is given."""
    count, *starts = struct.unpack_from("<16I", frame)
    if count != form.bits_allocated // 8:
        raise UndecodableImage("the DICOM file is damaged: its planes are not as many as its header says")
    ends = [*starts[1:count], len(frame)]
    row = (form.rows * form.columns, 1)  # not by rows, as some let a run go on in the next
    planes = [
        np.asarray(Image.frombytes("L", row, frame[start:end], "packbits", "L"))
        for start, end in zip(starts[:count], ends, strict=True)
    ]
    return planes[0] if count == 1 else planes[0].astype(np.uint16) << 8 | planes[1]


def _decompress(frame: bytes, form: Form, syntax: uid.UID) -> Stored:
    codestream = _codestream_2000(frame) if syntax in JPEG_2000 else _codestream(frame)
    precision = codestream.precision
    if (*codestream[:3], -(-precision // 8) * 8) != (form.rows, form.columns, 1, form.bits_allocated):
        raise UndecodableImage("the DICOM file is damaged: the compressed picture is not the one that its header describes")
    if syntax in JPEG | LOSSLESS_JPEG:
        limits.check_segments(frame)
    if syntax in JPEG:
        if precision != 8:
            raise UnsupportedImage("JPEG of 12 bits is not taken, unless it is lossless")
        with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
            limits.check_size(*image.size)
            return np.asarray(image)
    try:
        decoded = sandbox.decode(frame, syntax, form.rows, form.columns, form.bits_allocated, precision)
    except subprocess.TimeoutExpired:
        raise UndecodableImage(f"the image took over {sandbox.TIMEOUT_SECONDS} s to decode") from None
    except OSError as error:
        raise NotReady("the system has no process for decoding this image") from error
    pixels: Stored = np.frombuffer(decoded, f"<u{form.bits_allocated // 8}")
    if syntax in JPEG_2000:  # of which Pillow shifts the highest bit to the top,
        pixels = np.right_shift(pixels, form.bits_allocated - precision)
    if codestream.signed:  # and makes the lowest negative number 0
        pixels = np.bitwise_xor(pixels, 1 << precision - 1)
    return pixels


def _codestream(jpeg: bytes) -> _Codestream:
    """LookupError: it says nothing."""
    position = 2
    for _ in range(limits.MAX_SEGMENTS):
        if jpeg[position] == 0xFF and jpeg[position + 1] in _FRAME_HEADERS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", jpeg, position + 4)
            return _Codestream(rows, columns, components, precision)
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    raise LookupError


def _codestream_2000(frame: bytes) -> _Codestream:
    if not frame.startswith(_JPEG_2000_SIZE):
        raise LookupError
    right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
    components, bits = struct.unpack_from(">HB", frame, 40)
    return _Codestream(bottom - top, right - left, components, (bits & 0x7F) + 1, bits >= 0x80)

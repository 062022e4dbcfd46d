"""Reads the stored pixel values of a DICOM file, in any of the supported transfer syntaxes."""

import importlib.util
import io
import struct
import subprocess
from itertools import pairwise
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
from service.images.dicom.header import PIXELS, BoundedStream, number, raw_element

UNCOMPRESSED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
LOSSLESS_JPEG = {uid.JPEGLossless, uid.JPEGLosslessSV1}
JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
IN_SANDBOX = JPEG_2000 | LOSSLESS_JPEG | JPEG_LS | {uid.JPEGExtended12Bit}  # the last one if it has 12 bits
SUPPORTED = UNCOMPRESSED | {uid.RLELossless} | JPEG | JPEG_2000 | LOSSLESS_JPEG | JPEG_LS

_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # baseline, extended, progressive, lossless, JPEG-LS
_JPEG_2000_STYLE, _MAX_HEADER = b"\xff\x52\x00", 4_096  # bytes
_UNDEFINED = 2**32 - 1  # length
_JPEG_2000_SIZE, _JPEG_2000_END = b"\xff\x4f\xff\x51", b"\xff\xd9"

StoredValues = npt.NDArray[np.unsignedinteger[Any]]  # Any: of 8 or 16 bits


class PixelFormat(NamedTuple):
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool


def check_syntax(syntax: uid.UID) -> None:
    """Raises UnsupportedImage, also for the deflated syntax: its inflated size cannot be known before inflating it."""
    name = syntax.name if syntax in uid.AllTransferSyntaxes else "of this file"
    if syntax not in SUPPORTED:
        raise UnsupportedImage(f"TransferSyntaxUID: the DICOM transfer syntax {name} is not supported")
    if syntax in LOSSLESS_JPEG | JPEG_LS:
        _check_gdcm(f"TransferSyntaxUID: the DICOM transfer syntax {name}")


def _check_gdcm(what: str) -> None:
    if not importlib.util.find_spec("gdcm"):
        raise UnsupportedImage(f"{what} is not supported: the service runs without python-gdcm")


def read_pixel_format(header: Dataset) -> PixelFormat:
    """Raises ImageOutOfRange if the size or the bits are out of range."""
    keywords = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
    rows, columns, allocated, stored, signed = (int(number(header, keyword)) for keyword in keywords)
    try:
        limits.check_size(columns, rows)
    except ImageOutOfRange as error:
        raise ImageOutOfRange(f"Columns and Rows: {error}") from None
    if allocated not in (8, 16) or not 1 <= stored <= allocated or number(header, "HighBit", stored - 1) != stored - 1:
        bits = f"BitsStored is {stored} and BitsAllocated is {allocated}"
        raise ImageOutOfRange(f"{bits}; the pixels must be in the lowest bits of 8 or 16")
    return PixelFormat(rows, columns, allocated, stored, signed == 1)


def read_stored_values(data: bytes, header: Dataset, pixel_format: PixelFormat, syntax: uid.UID) -> StoredValues:
    """[rows, columns] of the stored bits as unsigned integers, also where they mean signed numbers. JPEG 2000 comes back
    smaller by a power of two, where its short side has at least twice the pixels that are needed."""
    element, shrunk = raw_element(header, PIXELS), 0
    if not syntax.is_encapsulated:
        pixels = _read_uncompressed(data, element, pixel_format, syntax)
    elif syntax == uid.RLELossless:
        pixels = _decode_rle(_read_frame(data, element), pixel_format)
    else:
        frame = _read_frame(data, element)
        if syntax in JPEG_2000:
            frame = _codestream(frame)
            shrunk = _halvings(frame, pixel_format)
        pixels = _decompress(frame, pixel_format, syntax, shrunk)
    stored: StoredValues = np.bitwise_and(pixels, 2**pixel_format.bits_stored - 1)
    rows, columns = (-(-side >> shrunk) for side in (pixel_format.rows, pixel_format.columns))
    return stored.reshape(rows, columns)


def _read_uncompressed(data: bytes, element: RawDataElement, pixel_format: PixelFormat, syntax: uid.UID) -> StoredValues:
    rows, columns, bits_allocated, *_ = pixel_format
    count, width, start = rows * columns, bits_allocated // 8, element.value_tell
    if element.length == _UNDEFINED:
        raise UndecodableImage("the DICOM file is damaged: PixelData is compressed, but TransferSyntaxUID is missing or wrong")
    behind = memoryview(data)[start + count * width : start + element.length]
    if element.length > len(data) - start:
        raise UndecodableImage("the DICOM file is truncated: it ends within PixelData")
    if element.length < count * width or (len(behind) > columns * width and any(behind)):  # some programs write a little more
        raise UndecodableImage("the DICOM file is damaged: the length of PixelData does not match Rows and Columns")
    if width == 1 and element.VR == "OW" and not syntax.is_little_endian:  # pairs of bytes, in swapped words
        return np.frombuffer(data, "<u2", (count + 1) // 2, start).byteswap().view(np.uint8)[:count]
    return np.frombuffer(data, f"{'<' if syntax.is_little_endian else '>'}u{width}", count, start)


def _read_frame(data: bytes, element: RawDataElement) -> bytes:
    """Join the fragments behind the table of offsets, which a single frame does not need."""
    stream = BoundedStream(data)
    stream.seek(element.value_tell)
    try:
        _, table_bytes = struct.unpack("<II", stream.read(8))
        stream.seek(table_bytes, io.SEEK_CUR)
        return b"".join(generate_fragments(stream))
    except (struct.error, EOFError, ValueError) as error:
        raise UndecodableImage("the DICOM file is truncated or damaged within PixelData") from error


def _decode_rle(frame: bytes, pixel_format: PixelFormat) -> StoredValues:
    """RLE has one plane for each byte of a pixel, the high byte first. Pillow decodes it, because it never writes more than
    the image has room for; pydicom would expand whatever it is given."""
    count, *starts = struct.unpack_from("<16I", frame)
    if count != pixel_format.bits_allocated // 8:
        raise UndecodableImage("the DICOM file is damaged: the number of planes in PixelData does not match BitsAllocated")
    bounds = pairwise([*starts[:count], len(frame)])
    size = (pixel_format.rows * pixel_format.columns, 1)  # one long row, as some programs let a run go on in the next row
    planes = [np.asarray(Image.frombytes("L", size, frame[start:end], "packbits", "L")) for start, end in bounds]
    return planes[0] if count == 1 else planes[0].astype(np.uint16) << 8 | planes[1]


def _decompress(frame: bytes, pixel_format: PixelFormat, syntax: uid.UID, halvings: int) -> StoredValues:
    rows, columns, bits_allocated, *_ = pixel_format
    *shape, precision, signed = _read_frame_header(frame, syntax)
    if shape != [rows, columns, 1] or not 2 <= precision <= bits_allocated:
        raise UndecodableImage(
            "the DICOM file is damaged: the frame in PixelData does not match Rows, Columns and BitsAllocated"
        )
    if syntax in JPEG | LOSSLESS_JPEG:
        limits.check_segments(frame)
    if syntax in JPEG and precision == 8:
        with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
            limits.check_size(*image.size)
            return np.asarray(image)
    if syntax in JPEG:
        _check_gdcm(f"lossy JPEG of {precision} bits")
    sample_bits = 8 if precision <= 8 else 16
    try:
        decoded = sandbox.decode(frame, syntax, rows, columns, sample_bits, precision, halvings)
    except subprocess.TimeoutExpired:
        raise UndecodableImage(f"the image took over {sandbox.TIMEOUT_SECONDS} s to decode") from None
    except subprocess.CalledProcessError as error:
        raise UndecodableImage("the DICOM file is damaged: the frame in PixelData cannot be decoded") from error
    except OSError as error:
        raise NotReady("the system could not start a process to decode this image") from error
    pixels: StoredValues = np.frombuffer(decoded, f"<u{sample_bits // 8}")
    if syntax in JPEG_2000:  # Pillow shifts the highest bit to the top
        pixels = np.right_shift(pixels, sample_bits - precision)
    if signed:  # and makes the lowest negative number 0
        pixels = np.bitwise_xor(pixels, 1 << precision - 1)
    if pixel_format.signed and syntax in JPEG_2000 | JPEG_LS:  # the sign is the highest bit of the frame's samples
        sign = 1 << precision - 1
        pixels = (np.bitwise_xor(pixels, sign).astype(np.int32) - sign).astype(np.uint16)
    return pixels


def _codestream(frame: bytes) -> bytes:
    """The JPEG 2000 codestream, without the boxes of a JP2 file around it and without the byte that makes its length even."""
    start, end = frame.find(_JPEG_2000_SIZE), frame.rfind(_JPEG_2000_END)
    if frame[4:8] == b"jP  " and start > 0:
        frame, end = frame[start:], end - start
    return frame[: end + 2] if end > 0 and not any(frame[end + 2 :]) else frame


def _halvings(codestream: bytes, pixel_format: PixelFormat) -> int:
    """How often both sides can be halved: the codestream holds the image at these sizes, too."""
    style = codestream.find(_JPEG_2000_STYLE, 0, _MAX_HEADER)
    levels = codestream[style + 9] if 0 < style < len(codestream) - 9 else 0
    return min(levels, max(0, (min(pixel_format.rows, pixel_format.columns) // limits.ENOUGH).bit_length() - 1))


def _read_frame_header(frame: bytes, syntax: uid.UID) -> tuple[int, int, int, int, bool]:
    """Rows, columns, components, bits per sample, and whether samples are signed. Raises LookupError if there is no header."""
    if syntax in JPEG_2000:
        if not frame.startswith(_JPEG_2000_SIZE):
            raise LookupError
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        components, bits = struct.unpack_from(">HB", frame, 40)
        return bottom - top, right - left, components, (bits & 0x7F) + 1, bits >= 0x80
    position = 2
    for _ in range(limits.MAX_SEGMENTS):
        if frame[position] == 0xFF and frame[position + 1] in _FRAME_HEADERS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, position + 4)
            return rows, columns, components, precision, False
        position += 2 + int.from_bytes(frame[position + 2 : position + 4])
    raise LookupError

"""Limits on images, checked on the header before a decoder spends time or memory: size, shape, and structure of the file."""

import re

from service.errors import ImageOutOfRange, UndecodableImage

ENOUGH = 448  # px of the short side: twice the network's square leaves the resize in the graph enough to average
MIN_SIDE = 32
MAX_SIDE = 8_192
MAX_PIXELS = 40_000_000
MAX_ASPECT = 4
OF_IMAGES = {"min_side_px": MIN_SIDE, "max_side_px": MAX_SIDE, "max_pixels": MAX_PIXELS, "max_aspect": MAX_ASPECT}

# Far more than any camera writes. Each of them costs a decoder time out of all proportion to its bytes.
MAX_SCANS = 50
MAX_SEGMENTS = 1_000
MAX_FILL = 10_000  # bytes
MAX_CHUNKS = 20_000
MAX_INFLATED = 16  # chunks

JPEG_SIGNATURE, PNG_SIGNATURE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FIRST_TYPES = {b"UL", b"OB", b"UI", b"CS", b"SH", b"DA", b"TM", b"LO"}  # of values, at the beginning of a DICOM file
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # without stuffing, restart markers and fill bytes
_SCAN, _END, _WITHOUT_LENGTH = b"\xda", b"\xd9", (b"\xd8", b"\xd9", b"\x01")
_INFLATED = (b"iCCP", b"zTXt", b"iTXt")  # 1 KB of them can hold 1 MB


def is_dicom(data: bytes) -> bool:
    """Also without a preamble: then the file begins with an element of group 2 or 8, whose type or length is plausible."""
    group, element = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    bare = group in (2, 8) and element < 0x100 and (data[4:6] in _FIRST_TYPES or int.from_bytes(data[4:8], "little") <= 64)
    return has_preamble(data) or (bare and len(data) > 132)


def has_preamble(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def check_size(width: int, height: int) -> None:
    """Raises ImageOutOfRange if the sides, the number of pixels or the aspect ratio are out of range."""
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageOutOfRange(f"the image is {width} × {height} px; each side must have {MIN_SIDE} to {MAX_SIDE:,} px")
    if width * height > MAX_PIXELS:
        raise ImageOutOfRange(f"the image has {width * height:,} pixels; the limit is {MAX_PIXELS:,}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        limit = f"the long side may be at most {MAX_ASPECT} times the short one"
        raise ImageOutOfRange(f"the image is {width} × {height} px; {limit}")


def check_segments(data: bytes) -> None:
    """Raises UndecodableImage if a JPEG has too many segments, scans or fill bytes. The decoder finds any damage later."""
    position, scans, fill = len(JPEG_SIGNATURE) - 1, 0, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, position)
        if not scans:  # after the first scan header, the bytes between markers are the picture
            fill += (marker.start() if marker else len(data)) - position
        scans += marker is not None and marker[1] == _SCAN
        if scans > MAX_SCANS or fill > MAX_FILL:
            raise UndecodableImage(f"the JPEG has over {MAX_SCANS} scans, or over {MAX_FILL:,} fill bytes before the first")
        if marker is None or (marker[1] == _END and scans):  # decoders ignore an end marker before the picture
            return
        position = marker.end()
        if marker[1] not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])
    raise UndecodableImage(f"the JPEG has over {MAX_SEGMENTS:,} segments")


def check_chunks(data: bytes) -> None:
    """Raises UndecodableImage if a PNG has too many chunks, or too many that are compressed."""
    position, inflated = len(PNG_SIGNATURE), 0
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        inflated += data[position + 4 : position + 8] in _INFLATED
        if inflated > MAX_INFLATED:
            raise UndecodableImage(f"the PNG has over {MAX_INFLATED} chunks of compressed text or profiles")
        position += 12 + int.from_bytes(data[position : position + 4])
    raise UndecodableImage(f"the PNG has over {MAX_CHUNKS:,} chunks")

"""What is refused of an image from its header, before a decoder spends time or memory on it."""

import re

from service.errors import ImageOutOfRange, UndecodableImage

MIN_SIDE = 32
MAX_SIDE = 8_192
MAX_PIXELS = 40_000_000
MAX_ASPECT = 4

# Far more than any camera writes; each costs a decoder time out of all proportion to its bytes.
MAX_SCANS = 50
MAX_SEGMENTS = 1_000
MAX_FILL = 10_000  # bytes
MAX_CHUNKS = 20_000
MAX_INFLATED = 16  # chunks

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # but stuffing, restarts and fill
_SCAN, _END, _BARE = b"\xda", b"\xd9", (b"\xd8", b"\xd9", b"\x01")  # bare: without a length
_INFLATED = (b"iCCP", b"zTXt", b"iTXt")  # 1 KB of them can hold 1 MB


def check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageOutOfRange(f"the image is {width} × {height} px; each side must have {MIN_SIDE} to {MAX_SIDE:,} px")
    if width * height > MAX_PIXELS:
        raise ImageOutOfRange(f"the image has {width * height:,} pixels; at most {MAX_PIXELS:,} are taken")
    if max(width, height) > MAX_ASPECT * min(width, height):
        shape = f"the image is {width} × {height} px"
        raise ImageOutOfRange(f"{shape}; the long side may be at most {MAX_ASPECT} times the short one")


def check_segments(data: bytes) -> None:
    """Of a JPEG, as far as its picture ends; what is broken is left to the decoder to find."""
    position, scans, fill = len(JPEG) - 1, 0, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, position)
        if not scans:  # after the first, what lies between markers is the picture
            fill += (marker.start() if marker else len(data)) - position
        scans += marker is not None and marker[1] == _SCAN
        if scans > MAX_SCANS or fill > MAX_FILL:
            raise UndecodableImage(f"the image has over {MAX_SCANS} scans, or {MAX_FILL:,} bytes of fill before the first")
        if marker is None or (marker[1] == _END and scans):  # an end before the picture is none to decoders
            return
        position = marker.end()
        if marker[1] not in _BARE:
            position += int.from_bytes(data[position : position + 2])
    raise UndecodableImage(f"the image has over {MAX_SEGMENTS:,} segments")


def check_chunks(data: bytes) -> None:
    """Of a PNG, likewise."""
    position, inflated = len(PNG), 0
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        inflated += data[position + 4 : position + 8] in _INFLATED
        if inflated > MAX_INFLATED:
            raise UndecodableImage(f"the image has over {MAX_INFLATED} chunks of compressed text or profiles")
        position += 12 + int.from_bytes(data[position : position + 4])
    raise UndecodableImage(f"the image has over {MAX_CHUNKS:,} chunks")

"""Bytes in, one greyscale array out: the only image decoder of the project, for serving and for training.

It decides by content alone (a file's name and type mean nothing) and refuses from the header, before a pixel is
decoded. It decodes no more pixels than a network of 224 × 224 can use.
"""

import io
import re
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError

from service.errors import ImageOutOfRange, UndecodableImage, UnsupportedImage

MIN_SIDE = 32
MAX_SIDE = 8_192
MAX_PIXELS = 40_000_000
MAX_ASPECT = 4
ENOUGH = 448  # px of the short side: twice the network's square leaves the resize in the graph enough to average

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {  # its value: what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Far more than any camera writes; each costs a decoder time out of all proportion to its bytes.
MAX_SCANS = 50
MAX_SEGMENTS = 1_000
MAX_FILL = 10_000  # bytes
MAX_CHUNKS = 20_000

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # but stuffing, restarts and fill
_SCAN, _END, _BARE = b"\xda", b"\xd9", (b"\xd8", b"\x01")  # bare: without a length

# What Pillow's two decoders and its EXIF reader raise on broken files (UnidentifiedImageError is an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a JPEG or PNG into an array [height, width] of grey levels, 0 black to 255 white.

    EXIF orientation is applied, as browsers do. Transparent pixels stand on black, 16-bit levels are scaled to 8.
    An image whose short side is at least twice 448 px comes back smaller, by a whole factor.

    Raises:
        UnsupportedImage: neither JPEG nor PNG.
        ImageOutOfRange: a side outside 32–8,192 px, over 40 megapixels, thinner than 4 : 1, or animated.
        UndecodableImage: damaged, truncated, not really an image, or built to keep a decoder busy.
    """
    if data.startswith(_JPEG):
        _check_segments(data)
    elif data.startswith(_PNG):
        _check_chunks(data)
    else:
        raise UnsupportedImage("the content is neither JPEG nor PNG" if data else "the image is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            _check_header(image)
            if min(image.size) >= 2 * ENOUGH:
                image.draft("L", (ENOUGH, ENOUGH))  # JPEG only: shrinks by 2, 4 or 8 while decoding
            image.load()
            return np.asarray(_upright(_shrink(_grey(image)), _orientation(image)))
    except Image.DecompressionBombError as error:
        raise ImageOutOfRange(f"the image has over {MAX_PIXELS:,} pixels, the most that are taken") from error
    except UnidentifiedImageError as error:
        raise UndecodableImage("the image is damaged: its header cannot be read") from error
    except _BROKEN as error:
        raise UndecodableImage(f"the image is damaged: {error}") from error


def _check_segments(data: bytes) -> None:
    """Of a JPEG, as far as its picture ends; what is broken is left to the decoder to find."""
    position, scans, fill = len(_JPEG) - 1, 0, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, position)
        if marker is None or marker[1] == _END:
            return
        if not scans:  # after the first, what lies between markers is the picture
            fill += marker.start() - position
        scans += marker[1] == _SCAN
        if scans > MAX_SCANS or fill > MAX_FILL:
            raise UndecodableImage(f"the image has over {MAX_SCANS} scans, or {MAX_FILL:,} bytes of fill before the first")
        position = marker.end()
        if marker[1] not in _BARE:
            position += int.from_bytes(data[position : position + 2])
    raise UndecodableImage(f"the image has over {MAX_SEGMENTS:,} segments")


def _check_chunks(data: bytes) -> None:
    """Of a PNG, likewise."""
    position = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        position += 12 + int.from_bytes(data[position : position + 4])
    raise UndecodableImage(f"the image has over {MAX_CHUNKS:,} chunks")


def _check_header(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise ImageOutOfRange(f"the image is {width} × {height} px; each side must have {MIN_SIDE} to {MAX_SIDE:,} px")
    if width * height > MAX_PIXELS:
        raise ImageOutOfRange(f"the image has {width * height:,} pixels; at most {MAX_PIXELS:,} are taken")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageOutOfRange(f"the image is {width} × {height} px; the long side may be {MAX_ASPECT} times the short one")
    frames = getattr(image, "n_frames", 1)
    if image.format == "PNG" and frames > 1:  # the further pictures in some cameras' JPEGs are previews
        raise ImageOutOfRange(f"the image has {frames} frames; it must have one")


def _orientation(image: Image.Image) -> object:
    """As EXIF has it. Broken EXIF says nothing of the pixels, so it is left aside, as browsers do."""
    try:
        return image.getexif().get(_ORIENTATION)
    except _BROKEN:
        return None


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bit: Pillow's own conversion would clip all above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and image.palette is None:
        raise UndecodableImage("the image is damaged: it has no palette")
    if image.has_transparency_data:
        image = image if image.mode in ("LA", "RGBA") else image.convert("LA")
        return ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    return image.convert("L")


def _shrink(grey: Image.Image) -> Image.Image:
    factor = min(grey.size) // ENOUGH
    return grey.reduce(factor) if factor > 1 else grey

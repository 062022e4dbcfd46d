"""The only image decoder of the project, used by serving and training alike: image bytes to one greyscale array.
The content alone decides the file type. The limits are checked on the header, before any pixel is decoded. No more pixels are
decoded than a network of 224 × 224 px can use."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from service.errors import ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images import limits
from service.images.warnings import is_in_colour, warnings_of

LARGE_PNG = 4_000_000  # pixels; a drawn one took 38 ms here, and its JPEG 5
FEW_BITS = 14  # of 16: the levels of 10, 12 or 14 bits, which detectors have, in a file that has room for more

_TURNS = {  # EXIF orientation: the operation that makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's two decoders and its EXIF reader raise on broken files (UnidentifiedImageError is an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)


class DecodedImage(NamedTuple):
    """`grey`: uint8 [height, width], 0 is black, 255 is white. `age_years`: the patient's age, if a DICOM file states it.
    `size`: width and height in the file, before the image was turned upright and shrunk."""

    grey: npt.NDArray[np.uint8]
    warnings: tuple[str, ...] = ()
    age_years: float | None = None
    size: tuple[int, int] = (0, 0)


def decode_image(data: bytes) -> DecodedImage:
    """Decode a JPEG, PNG or DICOM file.

    The EXIF orientation is applied, as browsers do. Transparent pixels are blended with black, 16-bit levels are scaled to 8.
    An image whose short side is at least 896 px (2 × 448) is shrunk by a whole factor.

    Raises UnsupportedImage (not JPEG, PNG or DICOM, or a compression that cannot be decoded here), ImageOutOfRange (a side
    outside 32–8,192 px, over 40 megapixels, longer than 4 : 1, animated, or not a radiograph), UndecodableImage (damaged,
    truncated, or built to keep a decoder busy) and NotReady (no process could be started to decode some kinds of DICOM)."""
    if data.startswith(limits.JPEG_SIGNATURE):
        limits.check_segments(data)
    elif data.startswith(limits.PNG_SIGNATURE):
        limits.check_chunks(data)
    elif limits.is_dicom(data):
        return _decode_dicom(data)
    else:
        raise UnsupportedImage("the content is neither JPEG nor PNG nor DICOM" if data else "the image is empty (0 bytes)")
    return _decode_jpeg_or_png(data)


def decode_or_defer(data: bytes) -> DecodedImage | Callable[[], DecodedImage]:
    """As `decode_image`; but an image that takes long comes back as a function that decodes it, so that such images cannot hold
    all threads: a large PNG, and DICOM that is decoded in a process of its own."""
    return partial(decode_image, data) if _takes_long(data) else decode_image(data)


def _takes_long(data: bytes) -> bool:
    if data.startswith(limits.PNG_SIGNATURE):
        width, height = (int.from_bytes(data[start : start + 4]) for start in (16, 20))
        return width * height > LARGE_PNG
    if data.startswith(limits.JPEG_SIGNATURE) or not limits.is_dicom(data):
        return False
    from service.images.dicom import radiograph

    return radiograph.needs_sandbox(data)


def decode_pixels(grey: npt.NDArray[np.uint8]) -> DecodedImage:
    """Treat decoded pixels, uint8 [height, width] of a size that `limits.check_size` accepts, like a file that holds them."""
    height, width = grey.shape
    shrunk = np.asarray(_shrink(Image.fromarray(grey)))
    return DecodedImage(shrunk, warnings_of(shrunk, width, height), size=(width, height))


def warm_up_decoders() -> None:
    """Load what Pillow loads with its first images, so that the first client does not wait for it."""
    for file_format in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.new("L", (limits.MIN_SIDE, limits.MIN_SIDE)).save(buffer, file_format)
        decode_image(buffer.getvalue())


def _decode_jpeg_or_png(data: bytes) -> DecodedImage:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            size, mode = image.size, image.mode
            limits.check_size(*size)
            frames = getattr(image, "n_frames", 1)
            if image.format == "PNG" and frames > 1:  # in JPEGs of some cameras the further pictures are previews
                raise ImageOutOfRange(f"the image has {frames} frames; it must have one")
            if min(size) >= 2 * limits.ENOUGH:
                image.draft("L", (limits.ENOUGH, limits.ENOUGH))  # JPEG only: shrinks by 2, 4 or 8 while decoding
            image.load()
            in_colour = is_in_colour(image) if image.mode == mode else _is_thumbnail_in_colour(data)
            shown, few_bits = _of_16_bits(image) if image.mode.startswith("I") else (_to_grey(image), ())
            grey = np.asarray(_upright(_shrink(shown), image.info.get("exif", b"")))
    except Image.DecompressionBombError as error:
        raise ImageOutOfRange(f"the image has over {limits.MAX_PIXELS:,} pixels, which is the limit") from error
    except UnidentifiedImageError as error:
        raise UndecodableImage("the image is damaged: its header cannot be read") from error
    except _BROKEN as error:
        raise UndecodableImage(f"the image is damaged: {error}") from error
    return DecodedImage(grey, few_bits + warnings_of(grey, *size, in_colour), size=size)


def _decode_dicom(data: bytes) -> DecodedImage:
    # Imported only when needed: loading takes 100 ms and 23 MB (with GDCM 140 ms and 41 MB), and most services never see DICOM.
    from service.images.dicom import radiograph

    decoded = radiograph.decode(data)
    grey, (width, height) = np.asarray(_shrink(Image.fromarray(decoded.grey))), decoded.size
    warnings = decoded.warnings + warnings_of(grey, width, height)
    return DecodedImage(grey, warnings, decoded.age_years, (width, height))


def _upright(image: Image.Image, exif: bytes) -> Image.Image:
    """Apply the EXIF orientation. Broken EXIF is ignored, as browsers do, because it says nothing about the pixels."""
    entries = Image.Exif()
    try:
        entries.load(exif)  # not `Image.getexif`, which also reads XMP and text
        orientation = entries.get(ExifTags.Base.Orientation)
    except _BROKEN:
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _of_16_bits(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """As 8 bits, and a warning where few of the 16 are used: such an image would be dark, so its own range is shown, as DICOM
    viewers do. (Pillow's own conversion would clip all levels above 255 to white.)"""
    levels = np.asarray(image).astype(np.int32)
    transparent = levels == image.info.get("transparency", -1)
    known = levels[~transparent] if not transparent.all() else levels
    darkest, brightest = int(known.min()), int(known.max())
    warnings: tuple[str, ...] = ()
    if (bits := brightest.bit_length()) > FEW_BITS or darkest == brightest:
        grey = (levels >> 8).astype(np.uint8)
    else:
        grey = np.rint(255 / (brightest - darkest) * (levels - darkest)).clip(0, 255).astype(np.uint8)
        warnings = (f"the image uses {bits} of its 16 bits; it is shown from its darkest to its brightest level",)
    grey[transparent] = 0
    return Image.fromarray(grey), warnings


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode == "P" and image.palette is None:
        raise UndecodableImage("the image is damaged: it has no palette")
    if image.has_transparency_data:
        image = image if image.mode in ("LA", "RGBA") else image.convert("LA")
        return ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    return image if image.mode == "L" else image.convert("L")  # which would copy it


def _shrink(grey: Image.Image) -> Image.Image:
    factor = min(grey.size) // limits.ENOUGH
    return grey.reduce(factor) if factor > 1 else grey


def _is_thumbnail_in_colour(data: bytes) -> bool:
    """Look at the colours of a JPEG that was decoded without them: an eighth of its size is enough."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft("RGB", (1, 1))
        return is_in_colour(image)

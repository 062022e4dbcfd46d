"""Bytes in, one greyscale array out: the only image decoder of the project, for serving and for training.

It decides by content alone (a file's name and type mean nothing) and refuses from the header, before a pixel is
decoded. It decodes no more pixels than a network of 224 × 224 can use. What it can tell of an image that is not like a
chest X-ray comes as warnings.
"""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError

from service.errors import ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images import limits

ENOUGH = 448  # px of the short side: twice the network's square leaves the resize in the graph enough to average
TINY = 224  # px, the network's square
USUAL_ASPECT = 2

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

# What Pillow's two decoders and its EXIF reader raise on broken files (UnidentifiedImageError is an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_COLOURFUL = 4  # grey levels between the channels, on average; X-rays saved in colour have 0, photographs 20 and more

# Of a sample of 32 × 32 pixels. In a chest X-ray the middle, spine and heart, is brighter than the left and right edges. Of
# the 5,216 training images of the Kermany data none has a difference below 0 standard deviations; below the cut-off are none
# of them, and all of their negatives; with 9 % or 16 % cut off each side, 0 or 0.1 %, and 99.6 or 99.4 % of the negatives.
_SAMPLE = 32
_MIDDLE, _EDGE = slice(12, 20), 4
_INVERTED = -0.3  # standard deviations
_FLAT = 5  # grey levels of standard deviation; the least of those images is 20


class DecodedImage(NamedTuple):
    """`grey`: uint8 [height, width], 0 black to 255 white. `age_years`: of the patient, where a DICOM file tells it. `size`:
    width and height in the file, which may be turned and more."""

    grey: npt.NDArray[np.uint8]
    warnings: tuple[str, ...] = ()
    age_years: float | None = None
    size: tuple[int, int] = (0, 0)


def decode_image(data: bytes) -> DecodedImage:
    """Decode a JPEG, PNG or DICOM file.

    EXIF orientation is applied, as browsers do. Transparent pixels stand on black, 16-bit levels are scaled to 8.
    An image whose short side is at least twice 448 px comes back smaller, by a whole factor.

    Raises:
        UnsupportedImage: neither JPEG nor PNG nor DICOM, or a compression of DICOM that nothing here can decode.
        ImageOutOfRange: a side outside 32–8,192 px, over 40 megapixels, thinner than 4 : 1, animated, or no radiograph.
        UndecodableImage: damaged, truncated, not really an image, or built to keep a decoder busy.
    """
    if data.startswith(limits.JPEG):
        limits.check_segments(data)
    elif data.startswith(limits.PNG):
        limits.check_chunks(data)
    elif data[128:132] == b"DICM":
        return _decode_dicom(data)
    else:
        raise UnsupportedImage("the content is neither JPEG nor PNG nor DICOM" if data else "the image is empty (0 bytes)")
    return _decode_picture(data)


def decode_pixels(grey: npt.NDArray[np.uint8]) -> DecodedImage:
    """What a client has decoded already, uint8 [height, width] of a size that `limits.check_size` takes: as if it had sent a
    file with these pixels."""
    height, width = grey.shape
    shrunk = np.asarray(_shrink(Image.fromarray(grey)))
    return DecodedImage(shrunk, tuple(_warnings(shrunk, width, height)), size=(width, height))


def warm_up_decoders() -> None:
    """Load what Pillow loads with its first images, so that the first client does not wait for it."""
    for file_format in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.new("L", (limits.MIN_SIDE, limits.MIN_SIDE)).save(buffer, file_format)
        decode_image(buffer.getvalue())


def _decode_picture(data: bytes) -> DecodedImage:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            _check_header(image)
            size, mode = image.size, image.mode
            if min(size) >= 2 * ENOUGH:
                image.draft("L", (ENOUGH, ENOUGH))  # JPEG only: shrinks by 2, 4 or 8 while decoding
            image.load()
            in_colour = _in_colour(image) if image.mode == mode else _in_colour_roughly(data)
            grey = np.asarray(_upright(_shrink(_grey(image)), _orientation(image)))
    except Image.DecompressionBombError as error:
        raise ImageOutOfRange(f"the image has over {limits.MAX_PIXELS:,} pixels, the most that are taken") from error
    except UnidentifiedImageError as error:
        raise UndecodableImage("the image is damaged: its header cannot be read") from error
    except _BROKEN as error:
        raise UndecodableImage(f"the image is damaged: {error}") from error
    colour = ["the image is in colour, as photographs are; the model learned from grey X-rays"] if in_colour else []
    return DecodedImage(grey, (*colour, *_warnings(grey, *size)), size=size)


def _decode_dicom(data: bytes) -> DecodedImage:
    # Here, as it takes 100 ms and 23 MB to load (where GDCM is installed, 140 and 41), and most services never meet one.
    from service.images.dicom import radiograph

    image = radiograph.decode(data)
    decoded = decode_pixels(image.grey)
    return decoded._replace(warnings=(*image.warnings, *decoded.warnings), age_years=image.age_years)


def _check_header(image: Image.Image) -> None:
    limits.check_size(*image.size)
    frames = getattr(image, "n_frames", 1)
    if image.format == "PNG" and frames > 1:  # the further pictures in some cameras' JPEGs are previews
        raise ImageOutOfRange(f"the image has {frames} frames; it must have one")


def _orientation(image: Image.Image) -> object:
    """As EXIF has it. Broken EXIF says nothing of the pixels, so it is left aside, as browsers do."""
    try:
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))  # not `getexif`, which asks XMP and text, too
        return exif.get(_ORIENTATION)
    except _BROKEN:
        return None


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bit: Pillow's own conversion would clip all above 255 to white
        levels = np.asarray(image)
        grey = (levels >> 8).astype(np.uint8)
        grey[levels == image.info.get("transparency", -1)] = 0
        return Image.fromarray(grey)
    if image.mode == "P" and image.palette is None:
        raise UndecodableImage("the image is damaged: it has no palette")
    if image.has_transparency_data:
        image = image if image.mode in ("LA", "RGBA") else image.convert("LA")
        return ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    return image.convert("L")


def _shrink(grey: Image.Image) -> Image.Image:
    factor = min(grey.size) // ENOUGH
    return grey.reduce(factor) if factor > 1 else grey


def _in_colour(image: Image.Image) -> bool:
    if image.mode in _GREY_MODES or (image.mode == "P" and image.palette is None):
        return False
    sample = image.resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST).convert("RGB")
    return bool(np.ptp(np.asarray(sample), axis=2).mean() > _COLOURFUL)


def _in_colour_roughly(data: bytes) -> bool:
    """Of a JPEG that was decoded without its colours: an eighth of its size is enough."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft("RGB", (1, 1))
        return _in_colour(image)


def _warnings(grey: npt.NDArray[np.uint8], width: int, height: int) -> list[str]:
    """`width` and `height` are those of the file; `grey` may have less."""
    warnings = []
    if min(width, height) < TINY:
        warnings.append(f"the image is tiny, {width} × {height} px; the model looks at {TINY} × {TINY}")
    if max(width, height) > USUAL_ASPECT * min(width, height):
        warnings.append(f"the image is {width} × {height} px, an unusual shape for a chest X-ray")
    rows, columns = ((np.arange(_SAMPLE) * side + side // 2) // _SAMPLE for side in grey.shape)
    sample = grey[np.ix_(rows, columns)].astype(np.float32)
    contrast = sample.std()
    if contrast < _FLAT:
        warnings.append("the image has nearly no contrast; there is nothing to be seen in it")
    elif sample[:, _MIDDLE].mean() - (sample[:, :_EDGE].mean() + sample[:, -_EDGE:].mean()) / 2 < _INVERTED * contrast:
        warnings.append("the image looks inverted: air seems bright and bone dark; the model learned the opposite")
    return warnings

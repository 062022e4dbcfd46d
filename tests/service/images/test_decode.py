import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydicom import uid

from service.errors import ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import DecodedImage, decode_image, decode_or_defer
from tests.conftest import dicom_of, encode, grey
from tests.service.images.files import PIXELS, RATIONAL, SHORT, GreyImage, decode, exif

GREY, HALF = Image.fromarray(PIXELS), Image.new("L", PIXELS.shape[::-1], 128)
PALETTE, PNG = GREY.convert("P"), encode(PIXELS)
SMALL, LARGE = (ImageOps.colorize(Image.fromarray(grey(*size)), "navy", "orange") for size in ((300, 280), (1000, 900)))
WITH_A_COLOURED_MARK = np.stack([grey(400, 400)] * 3, axis=2)
WITH_A_COLOURED_MARK[10:60, 10:60] = 255, 0, 0
COLOURS = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
KINDS = [*(f"PNG {mode}" for mode in ("1", "L", "RGB", "P", "LA", "RGBA", "I;16")), "JPEG L", "JPEG RGB", "JPEG CMYK"]
ORIENTATION, DESCRIPTION = 0x0112, 0x010E  # EXIF tags
UPRIGHT = [*(("JPEG", PIXELS, orientation) for orientation in range(10)), ("PNG", PIXELS, 6), ("JPEG", COLOURS, 1)]
SIZES = {"31 × 40": (31, 40), "8193 × 4000": (8193, 4000), "40,960,000": (6400, 6400), "401 × 100": (401, 100)}
WARNED = {
    "in colour": [encode(SMALL), encode(SMALL, "JPEG"), encode(LARGE, "JPEG")],  # the last is decoded without its colours
    "inverted": [encode(255 - grey(400, 400))],
    "tiny, 223 × 300 px": [encode(grey(223, 300))],
    "601 × 300 px, an unusual shape": [encode(grey(601, 300))],
    "nearly no contrast": [encode(np.full((300, 300), level, np.uint8)) for level in (0, 255)],
    "": [encode(WITH_A_COLOURED_MARK)],
}


def test_transparent_pixels_of_a_png_are_blended_with_black() -> None:
    first = int(PIXELS[0, 0])
    wide, palette = encode(PIXELS.astype(np.uint16) * 257, transparency=257 * first), encode(PALETTE, transparency=first)
    assert [np.array_equal(decode(data), np.where(first == PIXELS, 0, PIXELS)) for data in (wide, palette)] == [True] * 2
    half = [encode(Image.merge(mode, [*[GREY] * (len(mode) - 1), HALF])) for mode in ("LA", "RGBA")]
    assert [np.array_equal(decode(data), PIXELS.astype(int) * 128 // 255) for data in half] == [True] * 2


@pytest.mark.parametrize(("size", "compared"), [((300, 280), (300, 280)), ((1000, 900), (50, 50))], ids=["small", "shrunk"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_x_ray_looks_the_same_unwarned_in_any_mode(kind: str, size: tuple[int, int], compared: tuple[int, int]) -> None:
    file_format, mode = kind.split()
    image = Image.fromarray(grey(*size)).convert("1" if mode == "1" else "L")
    wide = Image.fromarray(np.asarray(image, np.uint16) * 257)
    found = decode_image(encode(wide if mode == "I;16" else image.convert(mode), file_format, quality=100))
    shown = np.asarray(Image.fromarray(found.grey).resize(compared, Image.Resampling.BOX), int)
    expected = np.asarray(image.convert("L").resize(compared, Image.Resampling.BOX))
    assert np.abs(shown - expected).max() <= (4 if file_format == "JPEG" else compared != size)
    assert found.warnings == ()


@pytest.mark.parametrize(("file_format", "pixels", "orientation"), UPRIGHT)
def test_an_image_is_decoded_and_turned_upright_as_by_pillow(file_format: str, pixels: GreyImage, orientation: int) -> None:
    data = encode(pixels, file_format, exif=exif((ORIENTATION, SHORT, 1, orientation)))
    image = Image.open(io.BytesIO(data))
    assert image.getexif()[ORIENTATION] == orientation
    assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(image).convert("L")))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_invalid_orientations_and_other_tags_do_nothing() -> None:
    for broken in ((RATIONAL, 1, 0), (SHORT, 2**31 - 1, 2**31 - 1), (SHORT, 1, 65_535)):
        assert np.array_equal(decode(encode(PIXELS, exif=exif((ORIENTATION, *broken)))), PIXELS)
    for kind in range(1, 13):
        data = encode(PIXELS, exif=exif((ORIENTATION, SHORT, 1, 6), (DESCRIPTION, kind, 1, 8)))
        assert np.array_equal(decode(data), np.rot90(PIXELS, -1))


def test_an_orientation_that_only_xmp_has_is_ignored_as_browsers_do() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    assert np.array_equal(decode(encode(PIXELS, "JPEG", xmp=xmp)), decode(encode(PIXELS, "JPEG")))


def test_no_more_pixels_than_the_network_can_use() -> None:
    expected = {
        ("PNG", (32, 32)): (32, 32),  # the limits of the sides and of their ratio
        ("PNG", (8192, 2048)): (2048, 512),
        **{(file_format, (895, 900)): (895, 900) for file_format in ("JPEG", "PNG")},
        **{(file_format, (896, 1000)): (448, 500) for file_format in ("JPEG", "PNG")},
        ("JPEG", (2000, 1400)): (1000, 700),  # a JPEG decoder can shrink by 2, not by 3
        ("PNG", (2000, 1400)): (667, 467),
    }
    found = {(kind, size): decode_image(encode(Image.new("L", size), kind)) for kind, size in expected}
    assert {case: image.grey.shape[::-1] for case, image in found.items()} == expected
    assert [image.size for image in found.values()] == [size for _, size in expected]


@pytest.mark.parametrize("warning", WARNED)
def test_an_image_unlike_an_x_ray_has_one_warning(warning: str) -> None:
    for data in WARNED[warning]:
        assert [warning in found for found in decode_image(data).warnings] == [True] * bool(warning)


def of_size(width: int, height: int) -> bytes:
    """A PNG whose header alone has this size: it must be refused before any pixel is decoded."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4) + PNG[33:]


def without_its_palette() -> bytes:
    before, after = encode(PALETTE).split(b"PLTE")
    return before[:-4] + after[4 + int.from_bytes(before[-4:]) :]


REFUSED = {
    "neither JPEG nor PNG nor DICOM": (UnsupportedImage, [encode(PIXELS, kind) for kind in ("GIF", "BMP", "TIFF", "WEBP")]),
    "0 bytes": (UnsupportedImage, [b""]),
    **{reason: (ImageOutOfRange, [of_size(*size)]) for reason, size in SIZES.items()},
    "pixels, which is the limit": (ImageOutOfRange, [of_size(60_000, 60_000)]),
    "2 frames": (ImageOutOfRange, [encode(PALETTE, save_all=True, append_images=[PALETTE.rotate(180)])]),
    "damaged": (UndecodableImage, [(int.from_bytes(PNG) ^ 1 << 4 * len(PNG)).to_bytes(len(PNG))]),  # one bit is flipped
    "palette": (UndecodableImage, [without_its_palette()]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_one_whole_image_is_refused_with_the_reason(reason: str) -> None:
    error, files = REFUSED[reason]
    for data in files:
        with pytest.raises(error, match=reason):
            decode(data)


@pytest.mark.parametrize("bits", [6, 10, 12, 14])
def test_a_png_that_uses_few_of_its_16_bits_is_shown_from_black_to_white_and_warned_of(bits: int) -> None:
    levels = 7 + np.rint(PIXELS / 255 * (2**bits - 8)).astype(np.uint16)
    found = decode_image(encode(levels))
    stretched = np.rint((levels - levels.min()) / np.ptp(levels) * 255)
    assert np.abs(found.grey - stretched).max() <= 1
    assert [f"uses {bits} of its 16 bits" in warning for warning in found.warnings] == [True]
    assert decode_image(encode(levels << 16 - bits)).warnings == ()


def test_images_that_take_long_are_left_to_the_caller() -> None:
    quick = [encode(PIXELS), encode(grey(3000, 2000), "JPEG"), dicom_of(PIXELS), b"no image"]
    slow = [encode(Image.new("L", (2100, 2000))), dicom_of(PIXELS, uid.JPEG2000, encode(PIXELS, "JPEG2000", no_jp2=True))]
    for data in quick[:3]:
        assert isinstance(decode_or_defer(data), DecodedImage)
    with pytest.raises(UnsupportedImage):
        decode_or_defer(quick[3])
    for data in slow:
        later = decode_or_defer(data)
        assert not isinstance(later, DecodedImage)
        assert np.array_equal(later().grey, decode_image(data).grey)

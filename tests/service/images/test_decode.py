import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from service.errors import ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import decode_image
from tests.conftest import encode, grey
from tests.service.images.files import RATIONAL, SHORT, exif

PIXELS = grey(200, 120)
WIDE = PIXELS.astype(np.uint16) * 257
COLOURS = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
ORIENTATION, DESCRIPTION = 0x0112, 0x010E  # EXIF tags

GreyImage = npt.NDArray[np.uint8]


def decode(data: bytes) -> GreyImage:
    return decode_image(data).grey


def half_transparent(mode: str) -> Image.Image:
    image = Image.fromarray(PIXELS).convert(mode)
    image.putalpha(128)
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(PIXELS), PIXELS),
        (encode(PIXELS > 100), 255 * (PIXELS > 100)),
        (encode(WIDE), PIXELS),
        (encode(WIDE, transparency=int(WIDE[0, 0])), np.where(PIXELS[0, 0] == PIXELS, 0, PIXELS)),
        (
            encode(Image.fromarray(PIXELS).convert("P"), transparency=int(PIXELS[0, 0])),
            np.where(PIXELS[0, 0] == PIXELS, 0, PIXELS),
        ),
        (encode(half_transparent("LA")), PIXELS.astype(int) * 128 // 255),
        (encode(half_transparent("RGBA")), PIXELS.astype(int) * 128 // 255),
    ],
    ids=["grey", "one bit", "16 bits", "transparent 16-bit level", "transparent palette entry", "LA", "RGBA"],
)
def test_a_png_becomes_its_grey_levels_blended_with_black(data: bytes, expected: npt.NDArray[np.generic]) -> None:
    assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize("pixels", [PIXELS, COLOURS], ids=["grey", "colour"])
def test_a_jpeg_comes_back_as_pillow_decodes_it(pixels: GreyImage) -> None:
    data = encode(pixels, "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("L")))


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK")],
)
def test_grey_in_another_mode_is_nearly_the_same_grey(file_format: str, mode: str) -> None:
    found = decode(encode(Image.fromarray(PIXELS).convert(mode), file_format, quality=100))
    assert np.abs(found.astype(int) - PIXELS).max() <= (1 if file_format == "PNG" else 4)


@pytest.mark.parametrize(("file_format", "orientation"), [*(("JPEG", orientation) for orientation in range(10)), ("PNG", 6)])
def test_exif_orientation_is_applied_as_pillow_would(file_format: str, orientation: int) -> None:
    data = encode(PIXELS, file_format, exif=exif((ORIENTATION, SHORT, 1, orientation)))
    assert Image.open(io.BytesIO(data)).getexif()[ORIENTATION] == orientation
    assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize(
    "entry",
    [(ORIENTATION, RATIONAL, 1, 0), (ORIENTATION, SHORT, 0x7FFFFFFF, 0x7FFFFFFF), (ORIENTATION, SHORT, 1, 65_535)],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_invalid_orientation_is_ignored(entry: tuple[int, int, int, int]) -> None:
    assert np.array_equal(decode(encode(PIXELS, exif=exif(entry))), PIXELS)


def test_an_orientation_that_only_xmp_has_is_ignored_as_browsers_do() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    assert np.array_equal(decode(encode(PIXELS, "JPEG", xmp=xmp)), decode(encode(PIXELS, "JPEG")))


@pytest.mark.parametrize("kind", range(1, 13))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_other_exif_tags_of_any_type_do_not_matter(kind: int) -> None:
    data = encode(PIXELS, exif=exif((ORIENTATION, SHORT, 1, 6), (DESCRIPTION, kind, 1, 8)))
    assert np.array_equal(decode(data), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("file_format", "size", "expected"),
    [
        ("JPEG", (895, 900), (895, 900)),
        ("PNG", (895, 900), (895, 900)),
        ("JPEG", (896, 1000), (448, 500)),
        ("PNG", (896, 1000), (448, 500)),
        ("JPEG", (2000, 1400), (1000, 700)),  # a JPEG decoder can shrink by 2, not by 3
        ("PNG", (2000, 1400), (667, 467)),
    ],
)
def test_no_more_pixels_than_the_network_can_use(file_format: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = decode_image(encode(grey(*size), file_format))
    assert (found.grey.shape[::-1], found.size) == (expected, size)


def test_a_shrunken_image_looks_the_same() -> None:
    large = grey(1600, 1200)
    found = Image.fromarray(decode(encode(large, "JPEG"))).resize((64, 64), Image.Resampling.BOX)
    expected = Image.fromarray(large).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 4


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "RGB", "P", "LA", "RGBA", "I;16")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    ],
)
def test_an_upright_grey_x_ray_needs_no_warning_in_any_mode(file_format: str, mode: str) -> None:
    large = grey(1000, 900)
    image = Image.fromarray(large.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(large).convert(mode)
    assert decode_image(encode(image, file_format)).warnings == ()


def in_colour(levels: GreyImage) -> GreyImage:
    return np.stack([levels, levels // 2 + 60, levels // 4 + 20], axis=2)


@pytest.mark.parametrize(
    ("pixels", "file_format", "warning"),
    [
        (in_colour(grey(300, 280)), "PNG", "in colour"),
        (in_colour(grey(300, 280)), "JPEG", "in colour"),
        (in_colour(grey(1000, 900)), "JPEG", "in colour"),  # decoded without its colours
        (255 - grey(400, 400), "PNG", "inverted"),
        (grey(223, 300), "PNG", "tiny, 223 × 300 px"),
        (grey(601, 300), "PNG", "601 × 300 px, an unusual shape"),
        (np.zeros((300, 300), np.uint8), "PNG", "nearly no contrast"),
        (np.full((300, 300), 255, np.uint8), "PNG", "nearly no contrast"),
    ],
    ids=["colour PNG", "colour JPEG", "large colour JPEG", "inverted", "tiny", "long", "black", "white"],
)
def test_an_image_unlike_a_chest_x_ray_has_one_warning(pixels: GreyImage, file_format: str, warning: str) -> None:
    [found] = decode_image(encode(pixels, file_format)).warnings
    assert warning in found


def test_a_coloured_mark_makes_no_photograph() -> None:
    marked = np.stack([grey(400, 400)] * 3, axis=2)
    marked[10:60, 10:60] = 255, 0, 0
    assert decode_image(encode(marked)).warnings == ()


@pytest.mark.parametrize(
    ("size", "reason"),
    [((31, 40), "31 × 40"), ((8193, 4000), "8193 × 4000"), ((6400, 6400), "40,960,000"), ((401, 100), "401 × 100")],
)
def test_a_size_out_of_range_is_named(size: tuple[int, int], reason: str) -> None:
    with pytest.raises(ImageOutOfRange, match=reason):
        decode(encode(Image.new("L", size)))


@pytest.mark.parametrize("size", [(32, 32), (128, 32), (8192, 2048)])
def test_a_size_at_the_limit_is_accepted(size: tuple[int, int]) -> None:
    decode(encode(Image.new("L", size)))


def test_a_bomb_is_refused_from_its_header() -> None:
    data = bytearray(encode(Image.new("L", (64, 64))))
    data[16:24] = (60_000).to_bytes(4) * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    with pytest.raises(ImageOutOfRange, match="pixels"):
        decode(bytes(data))


def test_an_animated_png_is_refused() -> None:
    frames = [Image.fromarray(grey(64, 64, seed)) for seed in range(2)]
    with pytest.raises(ImageOutOfRange, match="2 frames"):
        decode(encode(frames[0], save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused_by_content(file_format: str) -> None:
    with pytest.raises(UnsupportedImage, match="neither JPEG nor PNG nor DICOM"):
        decode(encode(PIXELS, file_format))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="0 bytes"):
        decode(b"")


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(encode(PIXELS))
    data[len(data) // 2] ^= 1
    with pytest.raises(UndecodableImage):
        decode(bytes(data))


def test_a_missing_palette_is_damage() -> None:
    data = encode(Image.fromarray(PIXELS).convert("P"))
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    with pytest.raises(UndecodableImage, match="palette"):
        decode(data[:start] + data[end:])

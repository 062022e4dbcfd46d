import contextlib
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.errors import ImageError, ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import decode_image
from tests.conftest import encode, grey

PIXELS = grey(200, 120)
SHORT, RATIONAL, DOUBLE = 3, 5, 12  # types of EXIF values


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    return decode_image(data).grey


def exif(*entries: tuple[int, int, int, int]) -> bytes:
    """A directory of (tag, type, count, value or offset), as a camera may write it: true or not."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + bytes(4)


def test_a_grey_png_comes_back_bit_for_bit() -> None:
    assert np.array_equal(decode(encode(PIXELS)), PIXELS)


def test_a_jpeg_comes_back_as_pillow_decodes_it() -> None:
    data = encode(PIXELS, "JPEG", quality=90)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_another_mode_is_the_same_grey(mode: str) -> None:
    found = decode(encode(Image.fromarray(PIXELS).convert(mode)))
    assert np.abs(found.astype(int) - PIXELS).max() <= 1


def test_a_colour_jpeg_is_what_pillow_makes_of_it() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    data = encode(colours, "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("L")))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_grey_in_a_colour_jpeg_is_nearly_the_same_grey(mode: str) -> None:
    found = decode(encode(Image.fromarray(PIXELS).convert(mode), "JPEG", quality=100))
    assert np.abs(found.astype(int) - PIXELS).mean() < 2


def test_one_bit_is_black_and_white() -> None:
    assert set(np.unique(decode(encode(Image.fromarray(PIXELS > 100))))) == {0, 255}


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = PIXELS.astype(np.uint16) * 257
    assert np.array_equal(decode(encode(wide)), PIXELS)


def test_transparent_pixels_stand_on_black() -> None:
    image = Image.fromarray(np.full((40, 40), 200, np.uint8)).convert("RGBA")
    image.putalpha(0)
    assert decode(encode(image)).max() == 0


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_half_transparent_pixels_are_half_as_bright(mode: str) -> None:
    image = Image.fromarray(np.full((40, 40), 200, np.uint8)).convert(mode)
    image.putalpha(128)
    assert set(np.unique(decode(encode(image)))) == {100}


def test_a_transparent_colour_of_a_palette_is_black() -> None:
    image = Image.fromarray(PIXELS).convert("P")
    image.info["transparency"] = 255
    found, before = decode(encode(image)), np.asarray(image.convert("L"))
    assert (found[np.asarray(image) == 255] == 0).all()
    assert np.array_equal(found[np.asarray(image) != 255], before[np.asarray(image) != 255])


def test_a_transparent_level_of_sixteen_bits_is_black() -> None:
    wide = PIXELS.astype(np.uint16) * 257
    found = decode(encode(wide, transparency=int(wide[0, 0])))
    assert (found[wide == wide[0, 0]] == 0).all()
    assert np.array_equal(found[wide != wide[0, 0]], PIXELS[wide != wide[0, 0]])


def test_an_orientation_that_only_xmp_has_is_left_aside_as_browsers_do() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    assert np.array_equal(decode(encode(PIXELS, "JPEG", xmp=xmp)), decode(encode(PIXELS, "JPEG")))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_as_pillow_would(file_format: str, orientation: int) -> None:
    data = encode(PIXELS, file_format, exif=exif((0x0112, SHORT, 1, orientation)))
    assert np.array_equal(decode(data), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize(
    "entry", [(0x0112, RATIONAL, 1, 0), (0x0112, SHORT, 0x7FFFFFFF, 0x7FFFFFFF), (0x0112, SHORT, 1, 65_535)]
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_orientation_that_makes_no_sense_is_left_aside(entry: tuple[int, int, int, int]) -> None:
    assert np.array_equal(decode(encode(PIXELS, exif=exif(entry))), PIXELS)


@pytest.mark.parametrize("kind", range(1, 13))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_other_tags_of_any_type_do_not_matter(kind: int) -> None:
    description = (0x010E, kind, 1, 8)
    data = encode(PIXELS, exif=exif((0x0112, SHORT, 1, 6), description))
    assert np.array_equal(decode(data), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "expected"), [((895, 900), (895, 900)), ((896, 1000), (448, 500)), ((2000, 1400), (667, 467))]
)
def test_no_more_pixels_than_the_network_can_use(file_format: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = decode(encode(grey(*size), file_format)).shape[::-1]
    if file_format == "JPEG" and size == (2000, 1400):
        expected = (1000, 700)  # 3 is no factor that a JPEG decoder knows
    assert found == expected


def test_a_shrunken_image_looks_the_same() -> None:
    large = grey(1600, 1200)
    found = Image.fromarray(decode(encode(large, "JPEG"))).resize((64, 64), Image.Resampling.BOX)
    expected = Image.fromarray(large).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 4


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_an_upright_grey_x_ray_needs_no_warning_in_any_mode(file_format: str, mode: str) -> None:
    if (file_format, mode) in {("PNG", "CMYK"), *(("JPEG", other) for other in ("P", "LA", "RGBA", "I;16"))}:
        return  # there is no such thing
    large = Image.fromarray(grey(1000, 900))
    image = Image.fromarray(np.asarray(large).astype(np.uint16) * 257) if mode == "I;16" else large.convert(mode)
    found = decode_image(encode(image, file_format))
    assert (found.warnings, found.size, found.age_years) == ((), (1000, 900), None)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(300, 280), (1000, 900)])
def test_a_photograph_is_warned_of(file_format: str, size: tuple[int, int]) -> None:
    levels = grey(*size)
    photograph = np.stack([levels, levels // 2 + 60, levels // 4 + 20], axis=2)
    [warning] = decode_image(encode(photograph, file_format)).warnings
    assert "in colour" in warning


def test_a_coloured_mark_makes_no_photograph() -> None:
    marked = np.stack([grey(400, 400)] * 3, axis=2)
    marked[10:60, 10:60] = 255, 0, 0
    assert decode_image(encode(marked)).warnings == ()


@pytest.mark.parametrize(
    ("pixels", "warning"),
    [
        (255 - grey(400, 400), "inverted"),
        (grey(223, 300), "tiny, 223 × 300 px"),
        (grey(601, 300), "601 × 300 px, an unusual shape"),
        (np.zeros((300, 300), np.uint8), "nearly no contrast"),
        (np.full((300, 300), 255, np.uint8), "nearly no contrast"),
    ],
    ids=["inverted", "tiny", "long", "black", "white"],
)
def test_what_is_unlike_a_chest_x_ray_is_warned_of_once(pixels: npt.NDArray[np.uint8], warning: str) -> None:
    [found] = decode_image(encode(pixels)).warnings
    assert warning in found


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((31, 40), "31 × 40"),
        ((8193, 4000), "8193 × 4000"),
        ((6400, 6400), "40,960,000"),
        ((401, 100), "401 × 100"),
    ],
)
def test_a_size_out_of_range_is_named(size: tuple[int, int], reason: str) -> None:
    with pytest.raises(ImageOutOfRange, match=reason):
        decode(encode(Image.new("L", size)))


@pytest.mark.parametrize("size", [(32, 32), (128, 32), (8192, 2048)])
def test_a_size_at_the_limit_is_taken(size: tuple[int, int]) -> None:
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


def test_nothing_is_not_an_image() -> None:
    with pytest.raises(UnsupportedImage, match="0 bytes"):
        decode(b"")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_image_is_never_filled_with_grey(file_format: str, tenths: int) -> None:
    data = encode(PIXELS, file_format)
    with pytest.raises(UndecodableImage):
        decode(data[: len(data) * tenths // 10])


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(encode(PIXELS))
    data[len(data) // 2] ^= 1
    with pytest.raises(UndecodableImage):
        decode(bytes(data))


def progressive(scans: int) -> bytes:
    data = encode(grey(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def test_an_ordinary_progressive_jpeg_is_taken_with_anything_behind_it() -> None:
    film = np.random.default_rng(0).bytes(10_000_000)  # as phones append one
    assert np.array_equal(decode(progressive(3) + film), decode(progressive(3)))


JPEG = encode(grey(64, 64), "JPEG")
PNG = encode(grey(64, 64))
EMPTY_CHUNK = b"\0\0\0\0teSt" + zlib.crc32(b"teSt").to_bytes(4)
INFLATED = b"iCCPx\0\0" + zlib.compress(bytes(1_000_000), 9)
PROFILE = (len(INFLATED) - 4).to_bytes(4) + INFLATED + zlib.crc32(INFLATED).to_bytes(4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (progressive(60), "scans"),
        (JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:], "fill"),
        (JPEG[:2] + b"\xff\xe1\x00\x09Exif\0\0y" * 100_000 + JPEG[2:], "segments"),
        (JPEG[:2] + b"\xff\x01" * 100_000 + JPEG[2:], "segments"),
        (JPEG[:2] + b"\xff" * 1_000_000, "fill"),
        (JPEG[:2] + b"\xff\xd9" + b"\xff\xe1\x00\x02" * 100_000, "segments"),
        (PNG[:33] + EMPTY_CHUNK * 100_000 + PNG[33:], "chunks"),
        (PNG[:33] + PROFILE * 100 + PNG[33:], "chunks of compressed"),
    ],
    ids=["scans", "fill", "segments", "bare markers", "nothing but fill", "behind an early end", "chunks", "inflated chunks"],
)
def test_what_is_built_to_keep_a_decoder_busy_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        decode(data)


def test_a_palette_that_is_missing_is_damage() -> None:
    data = encode(Image.fromarray(PIXELS).convert("P"))
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    with pytest.raises(UndecodableImage, match="palette"):
        decode(data[:start] + data[end:])


@settings(max_examples=300, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd EXIF; in production that goes to the log
def test_mutated_bytes_give_an_array_or_one_of_our_errors(data: st.DataObject) -> None:
    directory = exif((0x0112, SHORT, 1, 6), (0x011A, RATIONAL, 1, 8), (0x010E, DOUBLE, 1, 8))
    content = bytearray(encode(grey(48, 40), data.draw(st.sampled_from(["JPEG", "PNG"])), exif=directory))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode(bytes(content)).dtype == np.uint8

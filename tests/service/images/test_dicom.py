import contextlib
import logging
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import gdcm
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, uid

from service.errors import ImageError, ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import decode_image
from service.images.dicom import sandbox
from tests.conftest import ROOT, dicom_of, encode, grey

PIXELS = grey(260, 240)
MONOCHROME1 = {"PhotometricInterpretation": "MONOCHROME1"}
PLAIN = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
LOSSY = ["JPEGBaselineProcess1", "JPEGLSNearLossless", "JPEG2000"]  # in GDCM's words

GreyImage = npt.NDArray[np.uint8]


def decode(data: bytes) -> GreyImage:
    return decode_image(data).grey


def in_bits(bits: int, pixels: GreyImage = PIXELS) -> npt.NDArray[np.uint16]:
    """The same greys, in more levels."""
    levels: npt.NDArray[np.uint16] = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)
    return levels


def is_the_same(found: GreyImage, expected: GreyImage = PIXELS) -> bool:
    return found.shape == expected.shape and bool(np.abs(found.astype(int) - expected).max() <= 1)


def with_table(keyword: str, entries: npt.NDArray[np.generic], first: int, bits: int) -> dict[str, object]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return {keyword: [item]}


def transcode(data: bytes, syntax: str) -> bytes:
    """By GDCM, which only knows files."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = f"{folder}/before", f"{folder}/after"
        Path(before).write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(before)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(after)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(after).read_bytes()


def jpeg_2000(pixels: npt.NDArray[np.generic], **elements: object) -> bytes:
    return dicom_of(pixels, uid.JPEG2000Lossless, encode(pixels, "JPEG2000", no_jp2=True), **elements)


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_one_picture_is_the_same_grey_in_every_plain_file(syntax: uid.UID, bits: int, photometric: str) -> None:
    pixels = PIXELS if bits == 8 else in_bits(bits)
    if photometric == "MONOCHROME1":
        pixels = (2**bits - 1 - pixels).astype(pixels.dtype)
    found = decode_image(dicom_of(pixels, syntax, BitsStored=bits, PhotometricInterpretation=photometric))
    assert is_the_same(found.grey)
    assert (found.warnings, found.age_years, found.size) == ((), 4, (260, 240))


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_one_picture_is_the_same_grey_in_every_compressed_file(syntax: str, bits: int) -> None:
    if syntax == "JPEGBaselineProcess1" and bits > 8:
        return  # there is no such thing
    pixels = PIXELS if bits == 8 else in_bits(bits)
    found = decode(transcode(dicom_of(pixels, BitsStored=bits), syntax))
    assert np.abs(found.astype(int) - PIXELS).max() <= (12 if syntax == "JPEGBaselineProcess1" else 1)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", ["", *LOSSLESS])
def test_signed_values_are_taken_from_the_lowest_up(syntax: str, bits: int) -> None:
    values = (in_bits(bits).astype(np.int32) - 2 ** (bits - 1)).astype(np.int8 if bits == 8 else np.int16)
    data = dicom_of(values, BitsStored=bits)
    assert is_the_same(decode(transcode(data, syntax) if syntax else data))


def test_what_stands_above_the_bits_stored_is_no_picture() -> None:
    overlay = (np.arange(PIXELS.size).reshape(PIXELS.shape) % 16 << 12).astype(np.uint16)
    assert is_the_same(decode(dicom_of(in_bits(12) | overlay, BitsStored=12)))


def test_eight_bits_in_words_of_the_other_byte_order_are_swapped_back() -> None:
    data = dicom_of(PIXELS, uid.ExplicitVRBigEndian)
    start = len(data) - PIXELS.size
    swapped = np.frombuffer(data[start:], "<u2").byteswap().tobytes()
    assert np.array_equal(decode(data[:start].replace(b"\x7f\xe0\x00\x10OB", b"\x7f\xe0\x00\x10OW") + swapped), PIXELS)


def test_an_odd_number_of_bytes_is_padded() -> None:
    assert np.array_equal(decode(dicom_of(grey(33, 35))), grey(33, 35))


def test_a_large_image_comes_back_as_small_as_its_png() -> None:
    large = grey(1800, 1500)
    found = decode_image(dicom_of(large))
    assert found.size == (1800, 1500)
    assert np.array_equal(found.grey, decode(encode(large)))


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, 0), (4, 7)])
def test_rescaling_alone_changes_no_grey(slope: float, intercept: float) -> None:
    assert is_the_same(decode(dicom_of(in_bits(12), BitsStored=12, RescaleSlope=slope, RescaleIntercept=intercept)))


def test_a_negative_slope_inverts() -> None:
    assert is_the_same(decode(dicom_of(PIXELS, RescaleSlope=-1, RescaleIntercept=255)), 255 - PIXELS)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, lambda x: (x - 1499.5) / 999 + 0.5),
        ("LINEAR", lambda x: (x - 1499.5) / 999 + 0.5),
        ("LINEAR_EXACT", lambda x: (x - 1500) / 1000 + 0.5),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 1500) / 1000))),
    ],
)
@pytest.mark.parametrize("elements", [{}, {"RescaleSlope": 2, "RescaleIntercept": -100}, MONOCHROME1])
def test_the_first_window_is_looked_through(function, expected, elements) -> None:  # type: ignore[no-untyped-def]  # lambdas
    values = in_bits(12).astype(float) * elements.get("RescaleSlope", 1) + elements.get("RescaleIntercept", 0)
    levels = np.clip(expected(values), 0, 1)
    levels = np.rint(255 * (1 - levels if elements == MONOCHROME1 else levels)).astype(np.uint8)
    window = {"WindowCenter": [1500, 40], "WindowWidth": [1000, 400], "VOILUTFunction": function}
    assert is_the_same(decode(dicom_of(in_bits(12), BitsStored=12, **window, **elements)), levels)


@pytest.mark.parametrize(
    "window", [{"WindowCenter": 10}, {"WindowCenter": "", "WindowWidth": 10}, {"WindowCenter": 10, "WindowWidth": 0}]
)
def test_half_a_window_is_none(window: dict[str, object]) -> None:
    assert is_the_same(decode(dicom_of(PIXELS, **window)))


@pytest.mark.parametrize("syntax", PLAIN)
def test_a_voi_table_goes_before_a_window(syntax: uid.UID) -> None:
    curve = (1023 * (np.arange(1000) / 999) ** 2).astype(f"{'<' if syntax.is_little_endian else '>'}u2")
    table = with_table("VOILUTSequence", curve, first=1500, bits=10)
    places = np.clip(in_bits(12).astype(int) - 1500, 0, 999)
    expected = np.rint(255 * (places / 999) ** 2).astype(np.uint8)
    assert is_the_same(decode(dicom_of(in_bits(12), syntax, BitsStored=12, WindowCenter=9, WindowWidth=9, **table)), expected)


def test_a_table_of_bytes_with_a_negative_start() -> None:
    signed = (PIXELS.astype(int) - 128).astype(np.int8)
    table = with_table("VOILUTSequence", np.arange(256, dtype=np.uint8)[::-1], first=2**16 - 128, bits=8)
    assert is_the_same(decode(dicom_of(signed, **table)), 255 - PIXELS)


def test_a_modality_table_of_all_values_comes_before_the_window() -> None:
    table = with_table("ModalityLUTSequence", np.arange(2**16, dtype="<u2")[::-1], first=0, bits=16)
    found = decode(dicom_of(in_bits(16), **table, WindowCenter=2**15, WindowWidth=2**16, VOILUTFunction="LINEAR_EXACT"))
    assert is_the_same(found, 255 - PIXELS)
    assert is_the_same(decode(dicom_of(in_bits(16), **table)), 255 - PIXELS)


@pytest.mark.parametrize("elements", [{}, MONOCHROME1])
def test_padding_is_black(elements: dict[str, str]) -> None:
    values = in_bits(12).astype(np.int16)
    values[:50], values[50:60] = -2000, -1990
    found = decode(dicom_of(values, BitsStored=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, **elements))
    assert found[:60].max() == 0
    assert found[60:].max() > 0


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"Modality": "MUSTER^MAX"}, "modality of this file"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "MONOCHROME1 or MONOCHROME2"),
        ({"PhotometricInterpretation": None}, "MONOCHROME1 or MONOCHROME2"),
        ({"SamplesPerPixel": 3}, "one sample"),
        ({"NumberOfFrames": 7}, "7 frames"),
        ({"BitsAllocated": 32}, "bits of 8 or 16"),
        ({"BitsAllocated": 1}, "bits of 8 or 16"),
        ({"BitsStored": 9}, "bits of 8 or 16"),
        ({"BitsStored": 6, "HighBit": 7}, "bits of 8 or 16"),
        ({"Rows": 31}, "260 × 31"),
        ({"Rows": 9000, "Columns": 9000}, "9000 × 9000"),
        ({"Rows": 7000, "Columns": 7000}, "49,000,000"),
        ({"Rows": 50}, "4 times"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_what_is_out_of_range_is_named(elements: dict[str, object], reason: str) -> None:
    with pytest.raises(ImageOutOfRange, match=reason):
        decode(dicom_of(PIXELS, **elements))


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": 241}, {"Rows": 200}, {"BitsAllocated": 16}, {"Rows": None}, {"BitsStored": None}, {"RescaleSlope": 1e20},
        with_table("VOILUTSequence", np.arange(8, dtype="<u2"), first=0, bits=32),
        {"VOILUTSequence": [Dataset()]},
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_damaged(elements: dict[str, object]) -> None:
    with pytest.raises(UndecodableImage, match="damaged"):
        decode(dicom_of(PIXELS, **elements))


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        ({"Modality": "OT"}, "does not say that the image is a radiograph"),
        ({"BodyPartExamined": "FOOT"}, "not of the chest"),
        ({"ViewPosition": "LL"}, "not frontal"),
        ({"ViewPosition": "LATERAL"}, "not frontal"),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "not frontal"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw"),
    ],
)
def test_what_the_file_says_against_itself_is_warned_of(elements: dict[str, object], warning: str) -> None:
    [found] = decode_image(dicom_of(PIXELS, **elements)).warnings
    assert warning in found


@pytest.mark.parametrize(("meaning", "count"), [("left lateral", 1), ("postero-anterior", 0)])
def test_a_coded_view_is_known_by_its_meaning(meaning: str, count: int) -> None:
    code = Dataset()
    code.CodeMeaning = meaning
    assert len(decode_image(dicom_of(PIXELS, ViewPosition=None, ViewCodeSequence=[code])).warnings) == count


def test_what_the_file_does_not_say_is_not_held_against_it() -> None:
    nothing = dict.fromkeys(["Modality", "BodyPartExamined", "ViewPosition", "PatientAge"])
    found = decode_image(dicom_of(PIXELS, **nothing))
    assert (found.warnings, found.age_years) == ((), None)


@pytest.mark.filterwarnings("ignore:Invalid value")  # from pydicom, as it writes
@pytest.mark.parametrize("part", ["CHEST", "chest", "THORAX", "CHEST_TO_ABDOMEN", "LUNG"])
def test_words_for_the_chest(part: str) -> None:
    assert decode_image(dicom_of(PIXELS, BodyPartExamined=part)).warnings == ()


def test_an_inverted_picture_is_warned_of_as_in_a_png() -> None:
    assert decode_image(dicom_of(PIXELS, **MONOCHROME1)).warnings == decode_image(encode(255 - PIXELS)).warnings != ()


@pytest.mark.parametrize(
    ("age", "years"), [("045Y", 45), ("018M", 1.5), ("026W", 0.498), ("073D", 0.2), ("", None), ("old", None)]
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_age_is_told_in_years(age: str, years: float | None) -> None:
    found = decode_image(dicom_of(PIXELS, PatientAge=age)).age_years
    assert found == (years if years is None else pytest.approx(years, abs=0.001))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom_of(PIXELS)[128:], "neither JPEG nor PNG nor DICOM"),
        (dicom_of(PIXELS)[132:], "neither JPEG nor PNG nor DICOM"),
        (dicom_of(PIXELS, uid.MPEG2MPML, b"film"), "transfer syntax MPEG2 Main Profile / Main Level is not taken"),
        (dicom_of(PIXELS).replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.7"), "syntax of this file is not taken"),
    ],
    ids=["no preamble", "no prefix", "film", "unknown"],
)
def test_other_formats_are_unsupported(data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedImage, match=reason):
        decode(data)


def test_jpeg_of_twelve_bits_is_unsupported() -> None:
    frame = bytearray(encode(PIXELS, "JPEG"))
    frame[frame.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedImage, match="12 bits"):
        decode(dicom_of(in_bits(12), uid.JPEGExtended12Bit, bytes(frame), BitsStored=12))


def test_without_gdcm_it_is_named_and_everything_else_is_taken() -> None:
    code = (
        "import sys; sys.modules['gdcm'] = None; from service.images import decode; data = sys.stdin.buffer.read()\n"
        "try: print(decode.decode_image(data).grey.shape)\nexcept decode.UnsupportedImage as error: print(error)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=ROOT, check=True).stdout.decode()
        for data in (transcode(dicom_of(PIXELS), "JPEGLSLossless"), jpeg_2000(PIXELS))
    ]
    missing = "JPEG-LS Lossless Image Compression is not taken here: the service runs without python-gdcm"
    assert found == [f"the DICOM transfer syntax {missing}\n", "(240, 260)\n"]


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_nothing_is_told_of_the_patient(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    files = [dicom_of(PIXELS, **{keyword: "Secret"}) for keyword in ("ViewPosition", "BodyPartExamined", "Modality")]
    files += [dicom_of(PIXELS, PhotometricInterpretation="SECRET", SpecificCharacterSet=None)]
    files += [dicom_of(PIXELS)[:400], dicom_of(PIXELS).replace(b"DS", b"XX")]
    files += [dicom_of(PIXELS, WindowCenter=1, WindowWidth=1).replace(b"DS\x02\x001 ", b"DS\x02\x00Se")]
    said: list[str] = []
    for data in files:
        try:
            said += decode_image(data).warnings
        except ImageError:
            said.append(traceback.format_exc())
    captured = capfd.readouterr()
    everything = " ".join([*said, caplog.text, captured.out, captured.err]).lower()
    assert "secret" not in everything
    assert "4711" not in everything


DEFLATED = b"1.2.840.10008.1.2.1.99"


def deflated(data: bytes) -> bytes:
    start = data.index(b"\x08\x00\x16\x00")  # the first element behind the file meta
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(data[start:] + bytes(50_000_000)) + packer.flush()
    return data[:start].replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x00" + DEFLATED) + packed


def elements(count: int) -> bytes:
    return b"\x09\x00\x01\x00SH\x00\x00" * count


def nested(depth: int) -> bytes:
    return b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth


def items(count: int) -> bytes:
    return b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * count


def before(tag: bytes, more: bytes) -> bytes:
    data = dicom_of(PIXELS)
    at = data.index(tag)
    return data[:at] + more + data[at:]


PATIENT, FILE_META_END = b"\x10\x00\x10\x00", b"\x02\x00\x12\x00"


def tiny_precincts() -> bytes:
    """64 KB of JPEG 2000 whose 2000 × 2000 px are cut into millions of parts: with it Pillow's decoder takes 2 GB."""
    large = grey(256, 256)
    codestream = encode(large, "JPEG2000", no_jp2=True, precinct_size=(128, 128), num_resolutions=3)
    frame = bytearray(codestream)
    frame[8:16] = frame[24:32] = (2000).to_bytes(4) * 2
    coding = frame.index(b"\xff\x52")
    frame[coding + 14 : coding + 18] = b"\x11" * 4
    return dicom_of(large, uid.JPEG2000Lossless, bytes(frame), Rows=2000, Columns=2000)


def runs() -> bytes:
    frame = np.array([1, 64] + [0] * 14, "<u4").tobytes() + b"\x81\x07" * 8_000_000
    return dicom_of(PIXELS, uid.RLELossless, frame)


def fragments() -> bytes:
    data = dicom_of(PIXELS, uid.JPEGBaseline8Bit, encode(PIXELS, "JPEG"))
    at = data.rindex(b"\xfe\xff\xdd\xe0")
    return data[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000_000 + data[at:]


def larger_than_it_says() -> bytes:
    frame = bytearray(encode(PIXELS, "JPEG"))
    at = frame.index(b"\xff\xc0") + 5
    frame[at : at + 4] = b"\xff\xff\xff\xff"
    return dicom_of(PIXELS, uid.JPEGBaseline8Bit, bytes(frame))


def numbers() -> bytes:
    return dicom_of(PIXELS, uid.ImplicitVRLittleEndian, WindowCenter=1, WindowWidth=1).replace(
        b"\x28\x00\x50\x10\x02\x00\x00\x001 ", b"\x28\x00\x50\x10" + (16_000_000).to_bytes(4, "little") + b"1\\" * 8_000_000
    )


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: deflated(dicom_of(PIXELS)),
        lambda: before(PATIENT, elements(2_000_000)),
        lambda: before(FILE_META_END, b"\x02\x00\x01\x00SH\x00\x00" * 2_000_000),
        lambda: before(PATIENT, items(2_000_000)),
        lambda: before(PATIENT, nested(800_000)),
        lambda: before(PATIENT, nested(5_000)),
        tiny_precincts, runs, fragments, larger_than_it_says, numbers,
    ],
    ids=["deflated", "elements", "meta", "items", "nested", "less nested", "precincts", "runs", "fragments", "size", "numbers"],
)  # fmt: skip
def test_a_bomb_is_refused_in_little_time_and_memory(bomb) -> None:  # type: ignore[no-untyped-def]  # lambdas
    data = bomb()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))"
    code = (
        f"{limit}; import sys, time; from service import errors; from service.images.decode import decode_image\n"
        "import service.images.dicom.radiograph; data = sys.stdin.buffer.read()\n"
        "before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()\n"
        "try: decode_image(data)\nexcept errors.ImageError: pass\n"
        "print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=ROOT, check=False)
    assert not done.returncode, done.stderr.decode()
    seconds, kilobytes = (float(word) for word in done.stdout.split())
    assert seconds < 2
    assert kilobytes < 300_000
    assert time.perf_counter() - begin < sandbox.TIMEOUT_SECONDS + 5


@pytest.mark.parametrize("syntax", ["", *LOSSLESS, *LOSSY])
@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_truncated_file_is_never_filled_up(syntax: str, tenths: int) -> None:
    data = transcode(dicom_of(PIXELS), syntax) if syntax else dicom_of(PIXELS)
    with pytest.raises(ImageError):
        decode(data[: len(data) * tenths // 10])


def test_what_makes_gdcm_abort_is_an_error_like_any_other() -> None:
    without_codes = transcode(dicom_of(PIXELS), "JPEGLosslessProcess14_1").replace(b"\xff\xc4", b"\xff\x00")
    with pytest.raises(UndecodableImage):  # in one process with GDCM, these tests would end here
        decode(without_codes)


@settings(max_examples=400, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore")  # pydicom's warnings, which `dicom_header` turns off for the service
def test_mutated_bytes_give_an_array_or_one_of_our_errors(drawn: st.DataObject) -> None:
    content = bytearray(drawn.draw(st.sampled_from(SMALL)))
    end = drawn.draw(st.sampled_from([len(content), len(content) - 48 * 40]))
    for _ in range(drawn.draw(st.integers(1, 8))):
        content[drawn.draw(st.integers(132, max(end, 400) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode(bytes(content)).dtype == np.uint8


_small = grey(48, 40)
_window = {"WindowCenter": [100, 50], "WindowWidth": [80, 20], "PixelPaddingValue": 3}
_table = with_table("VOILUTSequence", np.arange(256, dtype="<u2"), first=0, bits=8)
SMALL = [
    *(dicom_of(_small, syntax, **_window) for syntax in PLAIN),
    dicom_of(_small, **_table),
    transcode(dicom_of(_small), "RLELossless"),
    transcode(dicom_of(_small), "JPEGBaselineProcess1"),
]

"""DICOM files of every supported kind show the same greys, and all that a file says against itself is named."""

import logging
import subprocess
import sys
import traceback

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, uid

from service.errors import ImageError, ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import decode_image
from tests.conftest import ROOT, dicom_of, encode, grey
from tests.service.images.files import MONOCHROME1, PIXELS, UNCOMPRESSED, in_bits, jpeg_2000, transcode, with_table

LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
LOSSY = ["JPEGBaselineProcess1", "JPEGLSNearLossless", "JPEG2000"]  # in GDCM's words

GreyImage = npt.NDArray[np.uint8]


def decode(data: bytes) -> GreyImage:
    return decode_image(data).grey


def is_the_same(found: GreyImage, expected: GreyImage = PIXELS) -> bool:
    return found.shape == expected.shape and bool(np.abs(found.astype(int) - expected).max() <= 1)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_image_has_the_same_greys_in_every_uncompressed_file(syntax: uid.UID, bits: int, photometric: str) -> None:
    pixels = in_bits(bits)
    if photometric == "MONOCHROME1":
        pixels = (2**bits - 1 - pixels).astype(pixels.dtype)
    found = decode_image(dicom_of(pixels, syntax, BitsStored=bits, PhotometricInterpretation=photometric))
    assert is_the_same(found.grey)
    assert (found.warnings, found.age_years, found.size) == ((), 4, (260, 240))


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [*((syntax, bits) for syntax in [*LOSSLESS, *LOSSY[1:]] for bits in (8, 12, 16)), ("JPEGBaselineProcess1", 8)],
)
def test_an_image_has_the_same_greys_in_every_compressed_file(syntax: str, bits: int) -> None:
    found = decode(transcode(dicom_of(in_bits(bits), BitsStored=bits), syntax))
    assert np.abs(found.astype(int) - PIXELS).max() <= (12 if syntax == "JPEGBaselineProcess1" else 1)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", ["", *LOSSLESS])
def test_signed_values_count_from_the_lowest(syntax: str, bits: int) -> None:
    data = dicom_of(in_bits(bits, signed=True), BitsStored=bits)
    assert is_the_same(decode(transcode(data, syntax) if syntax else data))


def test_jpeg_2000_of_twelve_bits_keeps_its_levels() -> None:
    shifted = (in_bits(12) + 2**15 - 2**11).astype(np.uint16)  # a decoder adds 2^15 to samples of 16 bits, 2^11 to those of 12
    frame = bytearray(encode(shifted, "JPEG2000", no_jp2=True))
    frame[42] = 12 - 1  # the precision
    assert is_the_same(decode(dicom_of(in_bits(12), uid.JPEG2000Lossless, bytes(frame), BitsStored=12)))


def test_bits_above_the_bits_stored_are_ignored() -> None:
    overlay = (np.arange(PIXELS.size).reshape(PIXELS.shape) % 16 << 12).astype(np.uint16)
    assert is_the_same(decode(dicom_of(in_bits(12).astype(np.uint16) | overlay, BitsStored=12)))


def test_eight_bits_in_big_endian_words_are_swapped() -> None:
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
def test_the_first_window_is_applied(function, expected, elements) -> None:  # type: ignore[no-untyped-def]  # lambdas
    values = in_bits(12).astype(float) * elements.get("RescaleSlope", 1) + elements.get("RescaleIntercept", 0)
    levels = np.clip(expected(values), 0, 1)
    levels = np.rint(255 * (1 - levels if elements == MONOCHROME1 else levels)).astype(np.uint8)
    window = {"WindowCenter": [1500, 40], "WindowWidth": [1000, 400], "VOILUTFunction": function}
    assert is_the_same(decode(dicom_of(in_bits(12), BitsStored=12, **window, **elements)), levels)


@pytest.mark.parametrize(
    "window", [{"WindowCenter": 10}, {"WindowCenter": "", "WindowWidth": 10}, {"WindowCenter": 10, "WindowWidth": 0}]
)
def test_an_incomplete_window_is_ignored(window: dict[str, object]) -> None:
    assert is_the_same(decode(dicom_of(PIXELS, **window)))


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
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
def test_a_file_out_of_range_is_refused_by_name(elements: dict[str, object], reason: str) -> None:
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
def test_a_file_that_contradicts_itself_is_damaged(elements: dict[str, object]) -> None:
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
def test_a_file_that_is_no_frontal_chest_radiograph_has_a_warning(elements: dict[str, object], warning: str) -> None:
    [found] = decode_image(dicom_of(PIXELS, **elements)).warnings
    assert warning in found


@pytest.mark.parametrize(("meaning", "count"), [("left lateral", 1), ("postero-anterior", 0)])
def test_a_coded_view_is_known_by_its_meaning(meaning: str, count: int) -> None:
    code = Dataset()
    code.CodeMeaning = meaning
    assert len(decode_image(dicom_of(PIXELS, ViewPosition=None, ViewCodeSequence=[code])).warnings) == count


def test_missing_elements_cause_no_warning() -> None:
    nothing = dict.fromkeys(["Modality", "BodyPartExamined", "ViewPosition", "PatientAge"])
    found = decode_image(dicom_of(PIXELS, **nothing))
    assert (found.warnings, found.age_years) == ((), None)


@pytest.mark.filterwarnings("ignore:Invalid value")  # from pydicom, as it writes
@pytest.mark.parametrize("part", ["CHEST", "chest", "THORAX", "CHEST_TO_ABDOMEN", "LUNG"])
def test_these_words_mean_the_chest(part: str) -> None:
    assert decode_image(dicom_of(PIXELS, BodyPartExamined=part)).warnings == ()


def test_an_inverted_image_has_the_warning_of_a_png() -> None:
    assert decode_image(dicom_of(PIXELS, **MONOCHROME1)).warnings == decode_image(encode(255 - PIXELS)).warnings != ()


@pytest.mark.parametrize(
    ("age", "years"), [("045Y", 45), ("018M", 1.5), ("026W", 0.498), ("073D", 0.2), ("", None), ("old", None)]
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_age_is_in_years(age: str, years: float | None) -> None:
    found = decode_image(dicom_of(PIXELS, PatientAge=age)).age_years
    assert found == (years if years is None else pytest.approx(years, abs=0.001))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom_of(PIXELS)[128:], "neither JPEG nor PNG nor DICOM"),
        (dicom_of(PIXELS)[132:], "neither JPEG nor PNG nor DICOM"),
        (dicom_of(PIXELS, uid.MPEG2MPML, b"film"), "transfer syntax MPEG2 Main Profile / Main Level is not supported"),
        (dicom_of(PIXELS).replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.7"), "syntax of this file is not supported"),
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


def test_without_gdcm_the_error_names_it_and_other_syntaxes_work() -> None:
    code = (
        "import sys; sys.modules['gdcm'] = None; from service.images import decode; data = sys.stdin.buffer.read()\n"
        "try: print(decode.decode_image(data).grey.shape)\nexcept decode.UnsupportedImage as error: print(error)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=ROOT, check=True).stdout.decode()
        for data in (transcode(dicom_of(PIXELS), "JPEGLSLossless"), jpeg_2000(PIXELS))
    ]
    missing = "JPEG-LS Lossless Image Compression is not supported: the service runs without python-gdcm"
    assert found == [f"the DICOM transfer syntax {missing}\n", "(240, 260)\n"]


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_no_message_quotes_the_patient(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    files = [dicom_of(PIXELS, **{keyword: "Secret"}) for keyword in ("ViewPosition", "BodyPartExamined", "Modality")]
    files += [dicom_of(PIXELS, PhotometricInterpretation="SECRET", SpecificCharacterSet=None)]
    files += [dicom_of(PIXELS)[:400], dicom_of(PIXELS).replace(b"DS", b"XX")]
    files += [dicom_of(PIXELS, WindowCenter="1", WindowWidth="1").replace(b"DS\x02\x001 ", b"DS\x06\x00Secret")]
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

import logging
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from pydicom import Dataset, uid

from service.errors import ImageError, ImageOutOfRange, UndecodableImage, UnsupportedImage
from service.images.decode import decode_image
from service.images.dicom import radiograph
from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, ROOT, dicom_of, encode, grey
from tests.service.images.files import MONOCHROME1, PIXELS, UNCOMPRESSED, GreyImage, decode, in_bits, transcode, with_table

LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
LOSSY = ["JPEGLSNearLossless", "JPEG2000"]  # in GDCM's words

OF_12 = in_bits(12)
OVERLAY = (np.arange(PIXELS.size).reshape(PIXELS.shape) % 16 << 12).astype(np.uint16)
EVERY_LEVEL_INVERTED = with_table("ModalityLUTSequence", np.arange(2**16, dtype="<u2")[::-1], first=0, bits=16)
BYTES_INVERTED = with_table("VOILUTSequence", np.arange(256, dtype=np.uint8)[::-1], first=2**16 - 128, bits=8)
STORED = [
    (OF_12.astype(np.uint16) | OVERLAY, {"BitsStored": 12}, PIXELS),
    (255 - PIXELS, MONOCHROME1, PIXELS),
    (65_535 - in_bits(16), MONOCHROME1, PIXELS),
    *((OF_12, {"BitsStored": 12, "RescaleSlope": by, "RescaleIntercept": -9}, PIXELS) for by in (1, 0.5, 4)),
    (PIXELS, {"RescaleSlope": -1, "RescaleIntercept": 255}, 255 - PIXELS),
    *((PIXELS, {"WindowCenter": at, "WindowWidth": by}, PIXELS) for at, by in ((10, None), ("", 10), (10, 0))),
    ((PIXELS.astype(int) - 128).astype(np.int8), BYTES_INVERTED, 255 - PIXELS),
    (in_bits(16), EVERY_LEVEL_INVERTED, 255 - PIXELS),
    (in_bits(16), EVERY_LEVEL_INVERTED | {"WindowCenter": 2**15, "WindowWidth": 2**16}, 255 - PIXELS),
]
OTHER_BITS = [{"BitsAllocated": 32}, {"BitsAllocated": 1}, {"BitsStored": 9}, {"BitsStored": 6, "HighBit": 7}]
COLOURED = [{"PhotometricInterpretation": kind} for kind in ("PALETTE COLOR", None)]
WRONG_SIZES = [{"Rows": 200}, {"Rows": 241}, {"BitsAllocated": 16}]
WHOLE_JPEG = dicom_of(PIXELS, uid.JPEGBaseline8Bit, encode(PIXELS, "JPEG"))
CUT_JPEG, BROKEN_JPEG = WHOLE_JPEG[:-2000], WHOLE_JPEG.replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0")
UNKNOWN_SYNTAX = dicom_of(PIXELS).replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.7")
REFUSED: dict[str, tuple[type[ImageError], Sequence[dict[str, Any] | bytes]]] = {  # Any: numbers, texts or sequences
    "Modality is CT,": (ImageOutOfRange, [{"Modality": "CT"}]),
    "Modality is another one": (ImageOutOfRange, [{"Modality": "MUSTER^MAX"}]),
    "PhotometricInterpretation must be MONOCHROME1 or": (ImageOutOfRange, COLOURED),
    "SamplesPerPixel 1": (ImageOutOfRange, [{"SamplesPerPixel": 3}]),
    "NumberOfFrames is 7": (ImageOutOfRange, [{"NumberOfFrames": 7}]),
    "bits of 8 or 16": (ImageOutOfRange, OTHER_BITS),
    "260 × 31": (ImageOutOfRange, [{"Rows": 31}]),
    "length of PixelData does not match Rows and Columns": (
        UndecodableImage,
        [{"Rows": 200}, {"BitsAllocated": 16}, {"Rows": 241}],
    ),
    "Rows is missing": (UndecodableImage, [{"Rows": None}]),
    "BitsStored is missing": (UndecodableImage, [{"BitsStored": None}]),
    "RescaleSlope has no usable number": (UndecodableImage, [{"RescaleSlope": 1e20}]),
    "truncated: it ends within PixelData": (UndecodableImage, [dicom_of(PIXELS)[:-1000]]),
    "truncated or damaged within PixelData": (UndecodableImage, [BROKEN_JPEG]),
    "truncated, or has no image: it has no PixelData": (UndecodableImage, [dicom_of(PIXELS)[: -PIXELS.size - 20], CUT_JPEG]),
    "neither JPEG nor PNG nor DICOM": (UnsupportedImage, [dicom_of(PIXELS)[100:]]),
    "syntax MPEG2 Main Profile / Main Level is not supported": (UnsupportedImage, [dicom_of(PIXELS, uid.MPEG2MPML, b"film")]),
    "syntax of this file is not supported": (UnsupportedImage, [UNKNOWN_SYNTAX]),
}


def is_the_same(found: GreyImage, expected: GreyImage = PIXELS) -> bool:
    return found.shape == expected.shape and bool(np.abs(found.astype(int) - expected).max() <= 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, *LOSSLESS, *LOSSY])
def test_an_image_has_the_same_greys_in_every_file(syntax: str, bits: int, signed: bool) -> None:
    plain = dicom_of(in_bits(bits, signed), uid.UID(syntax if syntax in UNCOMPRESSED else UNCOMPRESSED[1]), BitsStored=bits)
    found = decode_image(plain if syntax in UNCOMPRESSED else transcode(plain, syntax))
    assert is_the_same(found.grey)
    assert (found.warnings, found.age_years, found.size) == ((), 4, (260, 240))


def test_lossy_jpeg_has_nearly_the_same_greys() -> None:
    found = decode(transcode(dicom_of(PIXELS), "JPEGBaselineProcess1"))
    assert np.abs(found.astype(int) - PIXELS).max() <= 12


def test_jpeg_2000_of_twelve_bits_keeps_its_levels() -> None:
    shifted = (OF_12 + 2**15 - 2**11).astype(np.uint16)  # a decoder adds 2^15 to samples of 16 bits, 2^11 to those of 12
    frame = bytearray(encode(shifted, "JPEG2000", no_jp2=True))
    frame[42] = 12 - 1  # the precision
    assert is_the_same(decode(dicom_of(OF_12, uid.JPEG2000Lossless, bytes(frame), BitsStored=12)))


def test_eight_bits_in_big_endian_words_are_swapped() -> None:
    data = dicom_of(PIXELS, uid.ExplicitVRBigEndian)
    start = len(data) - PIXELS.size
    swapped = np.frombuffer(data[start:], "<u2").byteswap().tobytes()
    assert np.array_equal(decode(data[:start].replace(b"\x7f\xe0\x00\x10OB", b"\x7f\xe0\x00\x10OW") + swapped), PIXELS)


def test_a_large_image_with_an_odd_number_of_bytes_comes_back_as_small_as_its_png() -> None:
    large = np.asarray(ImageOps.autocontrast(Image.fromarray(grey(1801, 1501))))
    found = decode_image(dicom_of(large))
    assert found.size == (1801, 1501)
    assert np.array_equal(found.grey, decode(encode(large)))


@pytest.mark.parametrize(("pixels", "elements", "expected"), STORED)
def test_stored_values_become_greys(pixels: npt.NDArray[np.generic], elements: dict[str, object], expected: GreyImage) -> None:
    assert is_the_same(decode(dicom_of(pixels, **elements)), expected)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("elements", [{}, {"RescaleSlope": 2, "RescaleIntercept": -100}, MONOCHROME1])
def test_the_first_window_is_applied(function: str | None, elements: dict[str, Any]) -> None:  # Any: numbers or texts
    values = OF_12.astype(float) * elements.get("RescaleSlope", 1) + elements.get("RescaleIntercept", 0)
    linear, exact = (values - 1499.5) / 999 + 0.5, (values - 1500) / 1000
    shown = {"LINEAR_EXACT": exact + 0.5, "SIGMOID": 1 / (1 + np.exp(-4 * exact))}.get(function or "", linear)
    levels = np.rint(255 * np.clip(1 - shown if elements == MONOCHROME1 else shown, 0, 1)).astype(np.uint8)
    window = {"WindowCenter": [1500, 40], "WindowWidth": [1000, 400], "VOILUTFunction": function}
    assert is_the_same(decode(dicom_of(OF_12, BitsStored=12, **window, **elements)), levels)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_a_voi_table_goes_before_a_window(syntax: uid.UID) -> None:
    curve = (1023 * (np.arange(1000) / 999) ** 2).astype(f"{'<' if syntax.is_little_endian else '>'}u2")
    table = with_table("VOILUTSequence", curve, first=1500, bits=10)
    expected = np.rint(255 * (np.clip(OF_12.astype(int) - 1500, 0, 999) / 999) ** 2).astype(np.uint8)
    assert is_the_same(decode(dicom_of(OF_12, syntax, BitsStored=12, WindowCenter=9, WindowWidth=9, **table)), expected)


@pytest.mark.parametrize("elements", [{}, MONOCHROME1])
def test_padding_is_black(elements: dict[str, str]) -> None:
    values = OF_12.astype(np.int16)
    values[:50], values[50:60] = -2000, -1990
    found = decode(dicom_of(values, BitsStored=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, **elements))
    assert (found[:60].max(), found[60:].max() > 0) == (0, True)


def jpeg_2000(pixels: npt.NDArray[np.generic], **options: Any) -> bytes:  # Any: Pillow's options
    return encode(pixels, "JPEG2000", **options)


def with_open_end(frame: bytes) -> bytes:
    """The length of the only tile part is 0: it reaches to the end of the codestream."""
    part = frame.index(b"\xff\x90\x00\x0a") + 6
    return frame[:part] + bytes(4) + frame[part + 4 :]


CODESTREAM = jpeg_2000(PIXELS, no_jp2=True)
WIDE = {"BitsStored": 8, "BitsAllocated": 16}
TAKEN = {
    "a JP2 file around the codestream": dicom_of(PIXELS, uid.JPEG2000Lossless, jpeg_2000(PIXELS)),
    "an open end and a byte of padding": dicom_of(PIXELS, uid.JPEG2000Lossless, with_open_end(CODESTREAM) + b"\0" * 3),
    "an open end within a JP2 file": dicom_of(PIXELS, uid.JPEG2000Lossless, with_open_end(jpeg_2000(PIXELS)) + b"\0"),
    "8-bit JPEG 2000 in 16 bits": dicom_of(PIXELS, uid.JPEG2000Lossless, CODESTREAM, **WIDE),
    "RLE beside an odd byte": transcode(dicom_of(PIXELS), "RLELossless") + b"\0",
    "padding of many rows": dicom_of(np.vstack([PIXELS, np.zeros((60, 260), np.uint8)]), Rows=240),
    "no preamble": dicom_of(PIXELS)[132:],
    "no preamble, implicit": dicom_of(PIXELS, uid.ImplicitVRLittleEndian)[132:],
    "modality DR": dicom_of(PIXELS, Modality="DR"),
    "empty items": dicom_of(PIXELS, ModalityLUTSequence=[Dataset()], ViewCodeSequence=[Dataset()], ViewPosition=None),
}


def without_meta(syntax: uid.UID) -> bytes:
    """The data set alone."""
    data = dicom_of(PIXELS, syntax)
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


@pytest.mark.parametrize("name", TAKEN)
def test_a_file_that_viewers_open_is_taken(name: str) -> None:
    found = decode_image(TAKEN[name])
    assert is_the_same(found.grey)
    assert found.warnings == ()


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_without_a_transfer_syntax_the_content_tells_it(syntax: uid.UID) -> None:
    plain = without_meta(syntax)
    assert is_the_same(decode(plain))
    assert is_the_same(decode(bytes(128) + b"DICM" + plain))


def test_compressed_pixels_without_a_transfer_syntax_are_refused_by_its_name() -> None:
    data = dicom_of(PIXELS, uid.JPEG2000Lossless, CODESTREAM)
    with pytest.raises(UndecodableImage, match="TransferSyntaxUID is missing or wrong"):
        decode(data[144 + int.from_bytes(data[140:144], "little") :])


def test_jpeg_of_eight_bits_may_lie_in_sixteen_and_of_twelve_needs_gdcm() -> None:
    narrow = dicom_of(PIXELS, uid.JPEGBaseline8Bit, encode(PIXELS, "JPEG", quality=100), **WIDE)
    wide = transcode(dicom_of(OF_12, BitsStored=12), "JPEGExtendedProcess2_4")
    for data in (narrow, wide):
        assert np.abs(decode(data).astype(int) - PIXELS).max() <= 12


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.filterwarnings("ignore")  # of pydicom, which pytest lets through again for each test
def test_an_unusable_file_is_refused_by_name(reason: str) -> None:
    error, files = REFUSED[reason]
    for file in files:
        with pytest.raises(error, match=reason):
            decode(file if isinstance(file, bytes) else dicom_of(PIXELS, **file))


def coded_view(meaning: str) -> dict[str, object]:
    code = Dataset.from_json({"00080104": {"vr": "LO", "Value": [meaning]}})
    return {"ViewPosition": None, "ViewCodeSequence": [code]}


FROM_THE_SIDE = {"ViewPosition": None, "PatientOrientation": ["A", "F"]}
PARTS = "CHEST,chest,THORAX,CHEST_TO_ABDOMEN,LUNG,TORAX,Tórax,T\u00c3\u00b3rax,PECHO,POUMON,Poumons,Brustkorb,TORACE,Gogus"
CHESTS = [{"BodyPartExamined": part} for part in [*PARTS.split(","), "UNKNOWN", "unspecified"]]
SIDE_VIEWS = [{"ViewPosition": view} for view in ("LL", "LATERAL", "RL", "LLD", "PROFIL")]
VIEWS = "PA,AP,ap,POSTEROANTERIOR,ANTEROPOSTERIOR,AP_SUPINE,AP SUPINE,PA ERECT,FRONTAL,P.A.,postero-anterior,UNKNOWN"
FRONTAL = [{"ViewPosition": view} for view in VIEWS.split(",")]
WARNED: dict[str, Sequence[dict[str, Any]]] = {  # Any: texts or sequences
    "does not say that the image is a radiograph": [{"Modality": "OT"}],
    "not of the chest": [{"BodyPartExamined": part} for part in ("FOOT", "ABDOMEN", "Rodilla", "HAND", "SKULL")],
    "not frontal": [
        *({"ViewPosition": view} for view in ("LL", "LATERAL", "RL", "LLD", "PROFIL")),
        FROM_THE_SIDE,
        coded_view("left lateral"),
    ],
    "raw": [{"PresentationIntentType": "FOR PROCESSING"}],
    "looks inverted": [MONOCHROME1],
    "": [*CHESTS, *FRONTAL, coded_view("postero-anterior"), dict.fromkeys(["Modality", "BodyPartExamined", "ViewPosition"])],
}


@pytest.mark.filterwarnings("ignore:Invalid value")  # from pydicom, as it writes
@pytest.mark.parametrize("warning", WARNED)
def test_all_that_speaks_against_a_frontal_chest_radiograph_is_one_warning(warning: str) -> None:
    for elements in WARNED[warning]:
        warnings = decode_image(dicom_of(PIXELS, **elements)).warnings
        assert [warning in found for found in warnings] == [True] * bool(warning), elements


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_age_is_in_years() -> None:
    years = {"045Y": 45, "018M": 1.5, "026W": 0.498, "073D": 0.2, "": None, None: None, "old": None}
    found = {age: decode_image(dicom_of(PIXELS, PatientAge=age)).age_years for age in years}
    assert found == pytest.approx(years, abs=0.001)


def test_without_gdcm_the_error_names_it_and_other_syntaxes_work() -> None:
    code = (
        "import sys; sys.modules['gdcm'] = None; from service.images import decode; data = sys.stdin.buffer.read()\n"
        "try: print(decode.decode_image(data).grey.shape)\nexcept decode.UnsupportedImage as error: print(error)"
    )
    files = [transcode(dicom_of(PIXELS), syntax) for syntax in ("JPEGLSLossless", "JPEG2000Lossless")]
    files.append(transcode(dicom_of(OF_12, BitsStored=12), "JPEGExtendedProcess2_4"))
    found = [subprocess.check_output([sys.executable, "-c", code], input=data, cwd=ROOT).decode() for data in files]
    missing = "JPEG-LS Lossless Image Compression is not supported: the service runs without python-gdcm"
    lossy = "lossy JPEG of 16 bits is not supported: the service runs without python-gdcm"
    assert found == [f"TransferSyntaxUID: the DICOM transfer syntax {missing}\n", "(240, 260)\n", f"{lossy}\n"]


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
    everything = " ".join([*said, caplog.text, *capfd.readouterr()]).lower()
    assert [word for word in ("secret", "4711") if word in everything] == []


@pytest.mark.parametrize("bits", [8, 12])
def test_large_jpeg_2000_is_decoded_at_reduced_resolution_and_answered_alike(bits: int) -> None:
    large = Image.fromarray(grey(1900, 1500)).resize((3000, 2400))  # smooth, as radiographs are at this size
    levels = np.asarray(large, np.uint16) << bits - 8 if bits > 8 else np.asarray(large)
    plain = dicom_of(levels, BitsStored=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    reduced, whole = decode_image(transcode(plain, "JPEG2000")), decode_image(plain)
    assert (reduced.grey.shape, reduced.size, reduced.warnings) == ((600, 750), (3000, 2400), whole.warnings)
    outputs = Classifier(read_artefact(DEFAULT_MODEL, "fp32")).classify([reduced.grey, whole.grey])
    assert abs(float(np.diff(outputs.probabilities[:, 1])[0])) < 0.01


def test_a_fault_of_ours_is_logged_by_its_type_and_the_client_told_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def fail(*_: object) -> None:
        raise KeyError("Secret")

    monkeypatch.setattr(radiograph, "display_of", fail)
    with pytest.raises(UndecodableImage, match="damaged at WindowCenter, WindowWidth or a lookup table"):
        decode(dicom_of(PIXELS))
    [record] = [record for record in caplog.records if record.name == radiograph.__name__]
    assert (record.error, "Secret" in caplog.text) == ("KeyError", False)  # type: ignore[attr-defined]  # of `extra`

"""Greys of DICOM files against pydicom's own functions, which viewers agree with, over the whole picture."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, uid

from service.images.decode import decode_image
from tests.conftest import dicom_of, encode
from tests.service.images.files import MONOCHROME1, PIXELS, decode, in_bits, transcode, with_table
from tests.service.images.reference import reference

Elements = dict[str, Any]  # Any: numbers, texts or sequences
PADDING = 50  # rows


def content(bits: int, signed: bool) -> npt.NDArray[np.integer[Any]]:
    """A quarter of the range of `bits`, beginning at an eighth of it, as 10-bit images in 12 bits do."""
    whole = 2**bits
    levels = whole // 8 + np.rint(PIXELS / 255 * (whole // 4)).astype(int) - signed * whole // 2
    return np.asarray(levels, f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def displays(bits: int, signed: bool) -> dict[str, Elements]:
    least, whole = -signed * 2 ** (bits - 1), 2**bits
    window = {"WindowCenter": least + whole // 4, "WindowWidth": whole // 5}
    rising = np.rint(np.linspace(0, 1, 2**8) ** 2 * (2**10 - 1)).astype("<u2")
    falling = np.rint(np.linspace(2**16 - 1, 0, whole)).astype("<u2")
    sequences = {"VOI LUT": with_table("VOILUTSequence", rising, least + whole // 8, 10)}
    if bits < 16:  # pydicom's descriptor and indices then overflow
        sequences["modality LUT"] = with_table("ModalityLUTSequence", falling, least, 16)
        sequences["modality LUT, window"] = sequences["modality LUT"] | {"WindowCenter": 48_000, "WindowWidth": 9_000}
    return {
        "nothing": {},
        "rescaled": {"RescaleSlope": 2.5, "RescaleIntercept": -100},
        "negative": {"RescaleSlope": -1, "RescaleIntercept": 100},
        "window": window,
        "window, rescaled": {"WindowCenter": 4 * least, "WindowWidth": whole, "RescaleSlope": 4, "RescaleIntercept": -whole},
        "exact": window | {"VOILUTFunction": "LINEAR_EXACT"},
        "sigmoid": window | {"VOILUTFunction": "SIGMOID"},
        **sequences,
    }


CASES = [
    (bits, signed, photometric, name)
    for bits, signed, photometric in itertools.product((8, 10, 12, 14, 16), (False, True), ("MONOCHROME1", "MONOCHROME2"))
    for name in displays(bits, signed)
]
TABLES = [(16, 2**12 - 1), (16, 2**10 - 1), (16, 255), (8, 2**12 - 1), (10, 2**16 - 1), (32, 255)]


@pytest.mark.parametrize(("bits", "signed", "photometric", "name"), CASES)
def test_greys_are_those_that_viewers_show(bits: int, signed: bool, photometric: str, name: str) -> None:
    elements = {"BitsStored": bits, "PhotometricInterpretation": photometric, **displays(bits, signed)[name]}
    data = dicom_of(content(bits, signed), **elements)
    assert np.abs(decode(data).astype(int) - reference(data)).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_greys_are_those_that_viewers_show_in_every_compression(syntax: str, bits: int, signed: bool) -> None:
    data = transcode(dicom_of(content(bits, signed), BitsStored=bits, RescaleSlope=2, RescaleIntercept=-5), syntax)
    assert np.abs(decode(data).astype(int) - reference(data)).max() <= 1


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("name", displays(12, True))
def test_greys_are_those_that_viewers_show_in_every_byte_order(syntax: uid.UID, name: str) -> None:
    elements = displays(12, True)[name]
    if not syntax.is_little_endian:
        for item in (item for value in elements.values() if isinstance(value, list) for item in value):
            item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    data = dicom_of(content(12, True), syntax, BitsStored=12, **elements)
    assert np.abs(decode(data).astype(int) - reference(data)).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("photometric", [{}, MONOCHROME1])
def test_padding_is_black_and_counts_for_no_range(bits: int, photometric: Elements) -> None:
    pixels, plain = content(bits, False), content(bits, False)
    pixels[:PADDING] = 2**bits - 1
    found = decode(dicom_of(pixels, BitsStored=bits, PixelPaddingValue=2**bits - 1, **photometric))
    assert found[:PADDING].max() == 0
    expected = reference(dicom_of(plain[PADDING:], BitsStored=bits, **photometric))
    assert np.abs(found[PADDING:].astype(int) - expected).max() <= 1


def table(entries: int, used: int, claimed: int, greatest: int, kind: str = "<u2") -> Elements:
    rising = np.rint(np.linspace(0, greatest, entries)).astype(kind)
    item = with_table("VOILUTSequence", rising[:used], first=0, bits=claimed)
    item["VOILUTSequence"][0].LUTDescriptor = [entries, 0, claimed]  # type: ignore[index]  # a list
    return item


@pytest.mark.parametrize(("claimed", "greatest"), TABLES)
def test_a_table_that_claims_other_bits_than_it_uses_is_shown_from_black_to_white(claimed: int, greatest: int) -> None:
    found = decode(dicom_of(content(12, False), BitsStored=12, **table(2**12, 2**12, claimed, greatest)))
    expected = np.rint(255 * content(12, False).astype(float) / (2**12 - 1))
    assert np.abs(found - expected).max() <= 1


WINDOW = {"WindowCenter": 1024, "WindowWidth": 1200}
DESCRIPTOR_ALONE = {"VOILUTSequence": [Dataset.from_json({"00283002": {"vr": "US", "Value": [4096, 0, 12]}})]}


@pytest.mark.parametrize(
    ("broken", "warned"),
    [
        (table(2**12, 3000, 12, 2**12 - 1), True),
        (table(2**12, 2**11, 12, 2**12 - 1), True),
        (table(2**12, 2**12, 12, 255, "u1"), True),
        (DESCRIPTOR_ALONE, True),
        ({"VOILUTSequence": [Dataset()]}, False),
        ({"VOILUTSequence": []}, False),
    ],
)
def test_beside_a_table_that_is_not_whole_the_window_counts_and_without_one_the_range(broken: Elements, warned: bool) -> None:
    for others in (WINDOW, {}):
        found = decode_image(dicom_of(content(12, False), BitsStored=12, **broken, **others))
        assert np.abs(found.grey.astype(int) - reference(dicom_of(content(12, False), BitsStored=12, **others))).max() <= 1
        assert ["lookup table of the file is empty or incomplete" in warning for warning in found.warnings] == [True] * warned


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 7}, "RescaleSlope is 0"),
        ({"WindowCenter": 60_000, "WindowWidth": 100}, "window lies beside"),
        ({"WindowCenter": -5_000, "WindowWidth": 100}, "window lies beside"),
        ({"WindowCenter": -5_000, "WindowWidth": 100, "RescaleSlope": 2, "RescaleIntercept": 0}, "window lies beside"),
        ({"WindowCenter": 1024, "WindowWidth": 0}, "WindowWidth is below"),
        ({"WindowCenter": 1024, "WindowWidth": -400}, "WindowWidth is below"),
        ({"WindowCenter": 1024, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "WindowWidth is below"),
        (with_table("VOILUTSequence", np.arange(100, dtype="<u2"), first=60_000, bits=8), "lookup table lies beside"),
    ],
)
def test_what_would_show_one_grey_is_left_out_with_a_warning(elements: Elements, warning: str) -> None:
    found = decode_image(dicom_of(content(12, False), BitsStored=12, **elements))
    assert np.abs(found.grey.astype(int) - PIXELS).max() <= 1
    assert [warning in said for said in found.warnings] == [True]


@pytest.mark.parametrize("text", ["1024", "1024,0", "[1024, 300]", "1024\\300", " +1.024E3 "])
def test_numbers_are_read_as_programs_write_them(text: str) -> None:
    data = dicom_of(content(12, False), BitsStored=12, WindowWidth=1200, WindowCenter="1234567890123")
    padded = text.encode().ljust(len("1234567890123") + 1)
    data = data.replace(b"1234567890123 ", padded)
    assert np.abs(decode(data).astype(int) - reference(dicom_of(content(12, False), BitsStored=12, **WINDOW))).max() <= 1


@pytest.mark.parametrize("keyword", ["PixelPaddingValue", "WindowCenter", "RescaleSlope", "RescaleIntercept", "VOILUTFunction"])
def test_an_element_that_an_anonymiser_emptied_counts_as_absent(keyword: str) -> None:
    assert np.abs(decode(dicom_of(content(12, False), BitsStored=12, **{keyword: ""})).astype(int) - PIXELS).max() <= 1


@pytest.mark.parametrize("precision", [10, 12])
@pytest.mark.parametrize("stored", [12, 14, 16])
def test_signed_samples_of_jpeg_2000_with_fewer_bits_than_are_stored_keep_their_sign(precision: int, stored: int) -> None:
    levels = in_bits(precision, signed=True)  # on both sides of zero: a lost sign would only move values that are all below it
    frame = bytearray(encode((levels.astype(int) + 2**15).astype(np.uint16), "JPEG2000", no_jp2=True))
    frame[42] = 0x80 | precision - 1  # signed, so without Pillow's level shift of 2^15; GDCM would write 16 bits
    found = decode(dicom_of(levels, uid.JPEG2000Lossless, bytes(frame), BitsStored=stored))
    assert np.abs(found.astype(int) - PIXELS).max() <= 1

"""DICOM headers with random damage: every file is answered, or refused by an error that names an element."""

import os
import re
import struct
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom._dicom_dict import DicomDictionary

from service.errors import RequestError
from service.images.decode import decode_image
from tests.conftest import dicom_of, encode
from tests.service.images.files import PIXELS, in_bits, transcode, with_table

EXAMPLES = int(os.environ.get("DICOM_EXAMPLES", "500"))  # `make torture` tries 20,000
SHARE_OF_HEADER = 4_000  # bytes: what is behind them are pixels

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    TABLES = with_table("VOILUTSequence", in_bits(16)[0, :200], 0, 16) | with_table(
        "ModalityLUTSequence", in_bits(8)[0, :256], 0, 8
    )
    WHOLE = {"WindowCenter": [2000, 40], "WindowWidth": [1000, 400], "RescaleSlope": 2, "RescaleIntercept": -5}
    FILES = [
        dicom_of(in_bits(12), BitsStored=12, PixelPaddingValue=0, PixelPaddingRangeLimit=9, **WHOLE),
        dicom_of(in_bits(16, signed=True), uid.ImplicitVRLittleEndian, **WHOLE, **TABLES),
        dicom_of(in_bits(12), uid.ExplicitVRBigEndian, BitsStored=12, VOILUTFunction="SIGMOID", **WHOLE),
        dicom_of(PIXELS, uid.JPEGBaseline8Bit, encode(PIXELS, "JPEG"), NumberOfFrames=1, PatientOrientation=["A", "F"]),
        transcode(dicom_of(in_bits(12), BitsStored=12), "RLELossless"),
    ]
KEYWORDS = {keyword for *_, keyword in DicomDictionary.values() if len(keyword) > 3}
NAMES = re.compile("|".join(sorted(KEYWORDS, key=len, reverse=True)))
TYPES = [b"DS", b"IS", b"US", b"SS", b"OW", b"SQ", b"UI", b"CS", b"UN", b"FD", b"AT", b"XX"]


def elements(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each element before the pixels; in the one with a table also of those inside."""
    little = b"1.2.840.10008.1.2.2" not in data[:400]
    implicit = b"1.2.840.10008.1.2\0" in data[:400]
    order, position, found = "<" if little else ">", 132, []
    while position < min(len(data) - 12, SHARE_OF_HEADER):
        group, _ = struct.unpack_from(f"{'<' if position < 350 and data[position] == 2 else order}HH", data, position)
        in_meta = group == 2
        end = "<" if in_meta else order
        if implicit and not in_meta:
            [length], head = struct.unpack_from(f"{end}I", data, position + 4), 8
        elif data[position + 4 : position + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            [length], head = struct.unpack_from(f"{end}I", data, position + 8), 12
        else:
            [length], head = struct.unpack_from(f"{end}H", data, position + 6), 8
        if length > SHARE_OF_HEADER:
            break
        found.append((position, position + head + length))
        position += head + length
    return found


def changed(draw: st.DrawFn, element: bytes) -> bytes:
    """The element removed, emptied, doubled, of another type, with another value, or of another length."""
    change = draw(st.sampled_from(["remove", "empty", "double", "type", "value", "length"]))
    head, value = element[:8], element[8:]
    if change == "type":
        return element[:4] + draw(st.sampled_from(TYPES)) + element[6:]
    if change == "value":
        return head + draw(st.binary(min_size=len(value), max_size=len(value)))
    if change == "length":
        return head[:6] + draw(st.binary(min_size=2, max_size=2)) + value
    return {"remove": b"", "empty": head[:6] + bytes(2), "double": element * 2}[change]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with damage to one to four of its elements, some of them cut short there."""
    data = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(1, 4))):
        if not (places := elements(data)):
            return data
        begin, end = draw(st.sampled_from(places))
        data = data[:begin] + changed(draw, data[begin:end]) + data[end:]
    return data[: draw(st.integers(132, 1_500))] if draw(st.integers(0, 9)) == 0 else data


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(damaged())
def test_damage_in_a_header_is_answered_or_refused_by_the_name_of_an_element(data: bytes) -> None:
    try:
        found = decode_image(data)
    except RequestError as error:
        told = str(error)
        assert NAMES.search(told) or "neither JPEG nor PNG nor DICOM" in told or "too many elements" in told, told
        assert error.status < 500
    else:
        assert found.grey.shape[0] >= 32

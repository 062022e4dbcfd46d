import contextlib
import subprocess
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from service.errors import ImageError, UndecodableImage
from service.images.decode import decode_image
from service.images.dicom.sandbox import MAX_BYTES
from tests.conftest import ROOT, dicom_of, encode, grey
from tests.service.images.files import DOUBLE, PIXELS, RATIONAL, SHORT, UNCOMPRESSED, exif, transcode, with_table

KINDS_OF_DICOM = ["ExplicitVRLittleEndian", "RLELossless", "JPEGBaselineProcess1", "JPEGLSLossless", "JPEG2000Lossless"]
JPEG, PNG = encode(grey(64, 64), "JPEG"), encode(grey(64, 64))
EMPTY_CHUNK = b"\0\0\0\0teSt" + zlib.crc32(b"teSt").to_bytes(4)
INFLATED = b"iCCPx\0\0" + zlib.compress(bytes(1_000_000), 9)
PROFILE = (len(INFLATED) - 4).to_bytes(4) + INFLATED + zlib.crc32(INFLATED).to_bytes(4)
SEGMENTS = [b"\xff\xe1\x00\x09Exif\0\0y" * 100_000, b"\xff\x01" * 100_000, b"\xff\xd9" + b"\xff\xe1\x00\x02" * 100_000]
XRAY, IN_JPEG = dicom_of(PIXELS), dicom_of(PIXELS, uid.JPEGBaseline8Bit, encode(PIXELS, "JPEG"))
FIRST, PATIENT, FILE_META_END = b"\x08\x00\x16\x00", b"\x10\x00\x10\x00", b"\x02\x00\x12\x00"  # tags
WINDOWED = dicom_of(PIXELS, uid.ImplicitVRLittleEndian, WindowCenter="1", WindowWidth="1")
CENTRE = b"\x28\x00\x50\x10\x02\x00\x00\x001 "
SEQUENCE, ITEM = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0"
FRAME_SIZE = b"\xff\xc0\x00\x0b\x08\x00\xf0\x01\x04"  # 240 × 260 px in the header of a JPEG
SMALL = grey(48, 40)
WINDOW = {"WindowCenter": [100, 50], "WindowWidth": [80, 20], "PixelPaddingValue": 3}
EXIF = exif((0x0112, SHORT, 1, 6), (0x011A, RATIONAL, 1, 8), (0x010E, DOUBLE, 1, 8))
SEEDS = [  # file, and the position from which on it is mutated
    *((encode(SMALL, kind, exif=EXIF), 8) for kind in ("JPEG", "PNG")),
    *((dicom_of(SMALL, syntax, **WINDOW), 132) for syntax in UNCOMPRESSED),
    (dicom_of(SMALL, **with_table("VOILUTSequence", np.arange(256, dtype="<u2"), first=0, bits=8)), 132),
    *((transcode(dicom_of(SMALL), syntax), 132) for syntax in ("RLELossless", "JPEGBaselineProcess1")),
]
DECODE_WITH_LIMITS = """
import contextlib, sys, service.images.dicom.radiograph
from resource import *
from service.errors import ImageError
from service.images.decode import decode_image
setrlimit(RLIMIT_AS, (6 * 2**30, 6 * 2**30))
setrlimit(RLIMIT_CPU, (5, 5))  # seconds; the kernel kills the process
data = sys.stdin.buffer.read()
before = getrusage(RUSAGE_SELF).ru_maxrss
with contextlib.suppress(ImageError):
    decode_image(data)
print(getrusage(RUSAGE_SELF).ru_maxrss - before, getrusage(RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", *KINDS_OF_DICOM])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_truncated_file_is_never_filled_up(kind: str, share: float) -> None:
    data = encode(PIXELS, kind) if kind in ("JPEG", "PNG") else transcode(dicom_of(PIXELS), kind)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * share)])


def progressive(scans: int) -> bytes:
    data = encode(grey(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def test_an_ordinary_progressive_jpeg_is_decoded_with_anything_behind_it() -> None:
    film = np.random.default_rng(0).bytes(10_000_000)  # as phones append one
    assert np.array_equal(decode_image(progressive(3) + film).grey, decode_image(progressive(3)).grey)


REFUSED = {
    "damaged": [transcode(dicom_of(PIXELS), "JPEGLosslessProcess14_1").replace(b"\xff\xc4", b"\xff\x00")],  # GDCM aborts
    "scans": [progressive(60)],
    "fill": [JPEG[:2] + b"\xff" * 1_000_000 + rest for rest in (JPEG[2:], b"")],
    "segments": [JPEG[:2] + segments + JPEG[2:] for segments in SEGMENTS],  # also bare markers, and behind an early end
    "chunks": [PNG[:33] + EMPTY_CHUNK * 100_000 + PNG[33:]],
    "chunks of compressed": [PNG[:33] + PROFILE * 100 + PNG[33:]],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_file_built_to_stop_a_decoder_or_keep_it_busy_is_refused(reason: str) -> None:
    for data in REFUSED[reason]:
        with pytest.raises(UndecodableImage, match=reason):
            decode_image(data)


def with_elements(tag: bytes, elements: bytes, data: bytes = XRAY) -> bytes:
    before, after = data.split(tag, 1)
    return before + elements + tag + after


def deflated() -> bytes:
    before, after = XRAY.split(FIRST, 1)
    packed = zlib.compress(FIRST + after + bytes(50_000_000), 9, wbits=-15)
    return before.replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x001.2.840.10008.1.2.1.99") + packed


def tiny_precincts() -> bytes:
    """64 KB of JPEG 2000 whose 2000 × 2000 px are cut into millions of parts: Pillow's decoder takes 2 GB for it."""
    large = grey(256, 256)
    frame = bytearray(encode(large, "JPEG2000", no_jp2=True, precinct_size=(128, 128), num_resolutions=3))
    frame[8:16] = frame[24:32] = (2000).to_bytes(4) * 2
    coding = frame.index(b"\xff\x52")
    frame[coding + 14 : coding + 17] = b"\x11" * 3
    return dicom_of(large, uid.JPEG2000Lossless, bytes(frame), Rows=2000, Columns=2000)


BOMBS: dict[str, Callable[[], bytes]] = {
    "deflated": deflated,
    "elements": lambda: with_elements(PATIENT, b"\x09\x00\x01\x00SH\x00\x00" * 2_000_000),
    "meta": lambda: with_elements(FILE_META_END, b"\x02\x00\x01\x00SH\x00\x00" * 2_000_000),
    "items": lambda: with_elements(PATIENT, SEQUENCE + (ITEM + bytes(4)) * 2_000_000),
    "nested": lambda: with_elements(PATIENT, (SEQUENCE + ITEM + b"\xff\xff\xff\xff") * 800_000),
    "less nested": lambda: with_elements(PATIENT, (SEQUENCE + ITEM + b"\xff\xff\xff\xff") * 5_000),
    "fragments": lambda: with_elements(b"\xfe\xff\xdd\xe0", (ITEM + bytes(4)) * 2_000_000, IN_JPEG),
    "size": lambda: IN_JPEG.replace(FRAME_SIZE, FRAME_SIZE[:5] + b"\xff" * 4),
    "runs": lambda: dicom_of(PIXELS, uid.RLELossless, np.array([1, 64] + [0] * 14, "<u4").tobytes() + b"\x81\x07" * 8_000_000),
    "precincts": tiny_precincts,
    "numbers": lambda: WINDOWED.replace(CENTRE, CENTRE[:4] + (16_000_000).to_bytes(4, "little") + b"1\\" * 8_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_five_seconds_of_cpu_and_300_mb_of_memory(name: str) -> None:
    found = subprocess.check_output([sys.executable, "-c", DECODE_WITH_LIMITS], input=BOMBS[name](), cwd=ROOT)
    own, sandbox = map(int, found.split())  # KB
    assert own < 300_000
    assert sandbox <= MAX_BYTES / 1024


@settings(max_examples=700, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore")  # Pillow's and pydicom's warnings go to the log in production, or are silenced
def test_mutated_bytes_give_an_array_or_one_of_our_errors(data: st.DataObject) -> None:
    seed, start = data.draw(st.sampled_from(SEEDS))
    content = bytearray(seed)
    end = data.draw(st.sampled_from([len(content), max(len(content) - SMALL.size, 400)]))  # in DICOM, often the header alone
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(start, end - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(content)).grey.dtype == np.uint8

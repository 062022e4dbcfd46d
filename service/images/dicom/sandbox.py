"""JPEG 2000, lossless JPEG and JPEG-LS, decoded in a process of its own, with little memory and time.

In the service's process they would be its end: some damaged files make GDCM abort, which nothing in Python can catch (half a
minute of mutated files finds one), and 65 KB of JPEG 2000, cut into tiny precincts, take 5 GB and 15 s of Pillow's decoder.

This file is that process too. It is started without the rest of the project, so it imports nothing of it.
"""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

TIMEOUT_SECONDS = 4
MAX_BYTES = 2**30  # of memory: 40 megapixels take half of it

_QUESTION = "<64s4H"  # transfer syntax, rows, columns, bits allocated, bits of a sample; then the compressed frame


def decode(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int, precision: int) -> bytes:
    """[rows, columns] of little-endian unsigned integers: Pillow's or GDCM's. Raises subprocess.SubprocessError."""
    question = struct.pack(_QUESTION, syntax.encode("ascii"), rows, columns, bits_allocated, precision) + frame
    command = [sys.executable, "-I", str(Path(__file__))]
    done = subprocess.run(
        command, input=question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=True
    )  # fmt: skip
    return done.stdout


def _answer(source: BinaryIO, sink: BinaryIO) -> None:
    name, *form = struct.unpack(_QUESTION, source.read(struct.calcsize(_QUESTION)))
    frame = source.read()
    syntax = name.rstrip(b"\0").decode("ascii")
    sink.write(_by_pillow(frame) if frame.startswith(b"\xff\x4f") else _by_gdcm(frame, syntax, *form))


def _by_pillow(frame: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        return bytes(image.tobytes())


def _by_gdcm(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int, precision: int) -> bytes:
    import gdcm  # an extra

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(pixels)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, bits_allocated, precision, precision - 1, 0))
    buffer: str = image.GetBuffer()
    return buffer.encode("utf-8", "surrogateescape")


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_SECONDS, TIMEOUT_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what an abort leaves would hold the patient's image


if __name__ == "__main__":
    _limit()
    _answer(sys.stdin.buffer, sys.stdout.buffer)

"""Decodes JPEG 2000, lossless JPEG and JPEG-LS in a separate process with limited memory and CPU time.
In the service's own process they could end it. Some damaged files make GDCM abort, which Python cannot catch (half a minute of
mutated files finds one). A JPEG 2000 of 65 KB that is cut into tiny precincts takes 5 GB and 15 s of Pillow's decoder. The
child process runs this same file, without the rest of the project, so this file must not import any of it."""

import io
import os
import resource
import sys
from subprocess import DEVNULL, PIPE, run

TIMEOUT_SECONDS = 4
NICE = 10  # images that are quick to decode come first
MAX_BYTES = 2**30  # of memory; 40 megapixels take half of it


def decode(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int, precision: int, halvings: int = 0) -> bytes:
    """Decode a frame, with `precision` bits per sample, to [rows, columns] little-endian unsigned integers of `bits_allocated`.
    JPEG 2000 is decoded with both sides halved as often as `halvings` says. Raises subprocess.SubprocessError if the child
    fails or times out."""
    command = [sys.executable, "-I", __file__, syntax, *map(str, (rows, columns, bits_allocated, precision, halvings))]
    return run(command, input=frame, stdout=PIPE, stderr=DEVNULL, timeout=TIMEOUT_SECONDS, check=True).stdout


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_SECONDS, TIMEOUT_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the patient's image
    os.nice(NICE)
    syntax, *numbers, halvings = sys.argv[1:]
    frame = sys.stdin.buffer.read()
    is_jpeg_2000 = frame.startswith(b"\xff\x4f")
    pixels = _decode_by_pillow(frame, int(halvings)) if is_jpeg_2000 else _decode_by_gdcm(frame, syntax, *map(int, numbers))
    sys.stdout.buffer.write(pixels)


def _decode_by_pillow(frame: bytes, halvings: int) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = halvings  # type: ignore[assignment,method-assign]  # Pillow's way to ask for it, until it is loaded
        return bytes(image.tobytes())


def _decode_by_gdcm(frame: bytes, syntax: str, rows: int, columns: int, bits_allocated: int, precision: int) -> bytes:
    import gdcm  # the extra «dicom»

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


if __name__ == "__main__":
    _main()

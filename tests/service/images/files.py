"""Generators of image files that are odd, rare or compressed in ways that only DICOM knows."""

import struct
import tempfile
from pathlib import Path

import gdcm
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydicom import Dataset, uid

from service.images.decode import decode_image
from tests.conftest import grey

GreyImage = npt.NDArray[np.uint8]

PIXELS = np.asarray(ImageOps.autocontrast(Image.fromarray(grey(260, 240))))  # from black to white, as viewers show it
SHORT, RATIONAL, DOUBLE = 3, 5, 12  # types of EXIF values
MONOCHROME1 = {"PhotometricInterpretation": "MONOCHROME1"}
UNCOMPRESSED = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]


def decode(data: bytes) -> GreyImage:
    return decode_image(data).grey


def exif(*entries: tuple[int, int, int, int]) -> bytes:
    """A directory of (tag, type, count, value or offset), as a camera may write it, valid or not."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + bytes(4)


def in_bits(bits: int, signed: bool = False) -> npt.NDArray[np.generic]:
    levels = np.rint(PIXELS / 255 * (2**bits - 1)).astype(int) - signed * 2 ** (bits - 1)
    return np.asarray(levels, f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def with_table(keyword: str, entries: npt.NDArray[np.generic], first: int, bits: int) -> dict[str, object]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return {keyword: [item]}


def transcode(data: bytes, syntax: str) -> bytes:
    """Compress a DICOM file with GDCM, which reads and writes files only. `syntax`: in GDCM's words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))  # which empties the file
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return path.read_bytes()

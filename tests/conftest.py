"""Drawn images, DICOM files, and the real service on a real socket."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

ROOT = Path(__file__).parent.parent
DEFAULT_MODEL = ROOT / "models" / "default"
START_SECONDS = 30


def pytest_configure() -> None:
    """Child processes inherit an ignored SIGINT, as in the background of a shell, and tests send them Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def grey(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [height, width]: two dark ovals on noisy light ground, dark edges, a bright mark at the top left."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lungs = sum(np.exp(-((((x - side) / 0.3) ** 2 + (y / 0.6) ** 2) ** 2)) for side in (-0.45, 0.45))
    mark = 100 * ((x < -0.75) & (y < -0.7))
    air = 100 * np.clip(5 * np.abs(x) - 3.75, 0, 1)
    noise = np.random.default_rng(seed).normal(0, 8, (height, width))
    return np.asarray(np.clip(130 - 90 * lungs - air + mark + noise, 0, 255), dtype=np.uint8)


def encode(image: Image.Image | npt.NDArray[np.generic], file_format: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file. `options` are those of Pillow's `save`."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


def dicom_of(
    pixels: npt.NDArray[np.generic], syntax: UID = ExplicitVRLittleEndian, frame: bytes = b"", /, **elements: object
) -> bytes:
    """`elements` replace the usual ones by keyword; None removes one. `frame` is the compressed pixels."""
    bits = 8 * pixels.itemsize
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = "1.2.3"
    usual = {
        "PatientName": "Secret^Person", "PatientID": "4711", "PatientAge": "004Y", "Modality": "DX", "ViewPosition": "PA",
        "BodyPartExamined": "CHEST", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": bits, "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    for keyword, value in (usual | elements).items():
        if value is not None:
            setattr(image, keyword, value)
    if "BitsStored" in image:
        image.HighBit = elements.get("HighBit", image.BitsStored - 1)
    plain = pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    content = encapsulate([frame]) if frame else plain + bytes(len(plain) % 2)
    image.add_new("PixelData", "OB" if frame or bits == 8 else "OW", content)
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_service(**settings: object) -> Iterator[httpx.Client]:
    """Runs `python -m service` with these settings. Yields a client once it is ready, and ends the service by SIGTERM."""
    port = free_port()
    environment = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL), "MEDXFER_PORT": str(port)}
    environment |= {f"MEDXFER_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-W", "error", "-m", "service"], cwd=ROOT, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until_ready(str(client.base_url), process)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(url: str, process: "subprocess.Popen[Any]") -> None:  # Any: bytes or text
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"the service ended with {process.returncode}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"the service was not ready after {START_SECONDS} s")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with running_service() as client:
        yield client

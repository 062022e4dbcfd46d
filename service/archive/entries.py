"""What is written of one file: what the model says, or why it says nothing."""

import hashlib
import os
import stat
from io import FileIO
from pathlib import Path

import msgspec

from service.errors import NotReady, RequestError, UndecodableImage, UnreadableFile
from service.images.decode import DecodedImage, decode_image
from service.model.artefact import Artefact
from service.model.classifier import Classifier
from service.model.prediction import Prediction, interpret

MAX_BYTES = 200_000_000  # the most that MEDXFER_MAX_BODY_BYTES may allow, too: 40 megapixels need 80,000,000
CHUNK_BYTES = 2**24


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: below the folder. `bytes`, `sha256`: of the file. Either `label` to `warnings`, as `/predict` answers them, or
    `problem` and `detail`, the `type` and `detail` of its problems. Last, which model it was."""

    path: str
    bytes: int | None = None
    sha256: str | None = None
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    uncertain: bool | None = None
    novelty: float | None = None
    novelty_level: str | None = None
    warnings: list[str] | None = None
    problem: str | None = None
    detail: str | None = None
    model: str
    variant: str
    model_sha256: str


class Line(msgspec.Struct, frozen=True):
    """`mtime_ns`: of the file, None where it should be tried again: what was wrong may be over by then."""

    mtime_ns: int | None
    row: Row


class Reader:
    """One loaded model, to be asked by any number of threads at once."""

    def __init__(self, artefact: Artefact) -> None:
        """Raises ArtefactError: the model does not load, or does not compute here what it should."""
        self._artefact = artefact
        self._classifier = Classifier(artefact)
        self._classifier.warm_up(1)
        self._classifier.self_test()

    def read(self, file: Path, path: str) -> Line:
        """`path`: what to call the file."""
        artefact, mtime_ns = self._artefact, None
        row = Row(path=path, model=artefact.description.name, variant=artefact.variant, model_sha256=artefact.sha256)
        try:
            data, mtime_ns = _read(file)
            row = msgspec.structs.replace(row, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            return Line(mtime_ns, _answered(row, self._predict(data)))
        except RequestError as error:
            row = msgspec.structs.replace(row, problem=error.type, detail=str(error))
            return Line(None if isinstance(error, NotReady) else mtime_ns, row)

    def _predict(self, data: bytes) -> Prediction:
        image = _decode(data)
        [output] = self._classifier.classify_each([image.grey])
        return interpret(self._artefact.description, image, output)


def _answered(row: Row, prediction: Prediction) -> Row:
    return msgspec.structs.replace(
        row,
        label=prediction.label,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        uncertain=prediction.uncertain,
        novelty=prediction.novelty.value,
        novelty_level=prediction.novelty.level,
        warnings=prediction.warnings,
    )


def _decode(data: bytes) -> DecodedImage:
    try:
        return decode_image(data)
    except RequestError:
        raise
    except Exception as error:  # a fault of a decoder, which must not end a run over a million files
        raise UndecodableImage(f"the image cannot be decoded: {type(error).__name__}") from error


def _read(file: Path) -> tuple[bytes, int]:
    """Its content and mtime_ns. Raises UnreadableFile."""
    try:
        # Not waiting for the other end of a pipe, or for what a device has to say.
        with FileIO(os.open(file, os.O_RDONLY | os.O_NONBLOCK)) as opened:
            facts = os.fstat(opened.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise UnreadableFile("it is not a regular file")
            content = b"" if facts.st_size > MAX_BYTES else _all_of(opened)
        if (size := max(facts.st_size, len(content))) > MAX_BYTES:
            raise UnreadableFile(f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read")
        return content, facts.st_mtime_ns
    except OSError as error:
        raise UnreadableFile(f"the file cannot be read: {error.strerror}") from error


def _all_of(file: FileIO) -> bytes:
    """Up to a byte more than the most: it may have grown since it was looked at."""
    chunks = [b""]
    while (chunk := file.read(CHUNK_BYTES)) and sum(map(len, chunks)) <= MAX_BYTES:
        chunks.append(chunk)
    return b"".join(chunks)

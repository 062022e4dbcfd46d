"""Entries: the outcome for one file of an archive, which is a prediction or a problem."""

import hashlib
import os
import stat

import msgspec

from service.engine.engine import Engine
from service.errors import NotReady, RequestError, UndecodableImage, UnreadableFile
from service.images.decode import DecodedImage, decode_image

MAX_BYTES = 200_000_000  # also the most that MEDXFER_MAX_BODY_BYTES may allow; 40 megapixels need 80,000,000
PIECE_BYTES = 2**24


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal and, without `mtime_ns`, a row of the results. `bytes`, `sha256` and `mtime_ns` (time of the last
    change) are those of the file. Either `label` to `warnings` are set, as in an answer of `/predict`, or `problem` and
    `detail`, the `type` and `detail` of a problem."""

    mtime_ns: int | None = None  # None if a later run should try the file again
    path: str
    bytes: int | None = None
    sha256: str | None = None
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    uncertain: bool | None = None
    abstain: bool | None = None
    reasons: list[str] | None = None
    novelty: float | None = None
    novelty_level: str | None = None
    warnings: list[str] | None = None
    problem: str | None = None
    detail: str | None = None
    model: str
    variant: str
    model_sha256: str


def predict_file(engine: Engine, name: str, path: str) -> Entry:
    """Reads and predicts one file. `name` is its path in the results. Any number of threads may call this at once."""
    artefact = engine.artefact
    entry = Entry(path=name, model=artefact.description.name, variant=artefact.variant, model_sha256=artefact.sha256)
    try:
        content, mtime_ns = read_file(path)
        sha256 = hashlib.sha256(content).hexdigest()
        entry = msgspec.structs.replace(entry, mtime_ns=mtime_ns, bytes=len(content), sha256=sha256)
        prediction = engine.predict_now(decode(content))
    except RequestError as error:
        if isinstance(error, NotReady):
            entry = msgspec.structs.replace(entry, mtime_ns=None)
        return msgspec.structs.replace(entry, problem=error.type, detail=str(error))
    novelty, fields = prediction.novelty, msgspec.structs.asdict(prediction)
    fields |= {"novelty": novelty.value, "novelty_level": novelty.level}
    del fields["heatmap"]
    return msgspec.structs.replace(entry, **fields)


def decode(content: bytes) -> DecodedImage:
    """Raises RequestError, and nothing else."""
    try:
        return decode_image(content)
    except RequestError:
        raise
    except Exception as error:  # a fault of a decoder must not end a run over a million files
        raise UndecodableImage(f"the image cannot be decoded: {type(error).__name__}") from error


def read_file(path: str) -> tuple[bytes, int]:
    """The file's content and mtime_ns. Raises UnreadableFile."""
    try:
        # Not Path.open, because it takes no opener: without O_NONBLOCK, opening a pipe waits for its other end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile("it is not a regular file")
            content = bytearray()  # in pieces, since the file may grow meanwhile
            while status.st_size <= MAX_BYTES >= len(content) and (piece := file.read(PIECE_BYTES)):
                content += piece
    except OSError as error:
        raise UnreadableFile(f"the file cannot be read: {error.strerror}") from error
    if (size := max(status.st_size, len(content))) > MAX_BYTES:
        raise UnreadableFile(f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read")
    return bytes(content), status.st_mtime_ns

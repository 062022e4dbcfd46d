"""All errors that the project raises on purpose, as plain exceptions; and the exit code of a service that cannot start.
`service.http.problems` turns each `RequestError` into problem details. Clients match on the `type` of a problem, so it is
written here, and stays when a class is renamed."""

from typing import ClassVar

CANNOT_START = 3  # as uvicorn's


class MedXferError(Exception):
    """Base of every error that is raised on purpose. Its message is meant for the user."""


class SettingError(MedXferError):
    """An environment variable has a wrong value. Exit code 3."""


class ArtefactError(MedXferError):
    """A model folder cannot be trusted. Exit code 3."""


class ArchiveError(MedXferError):
    """A run over an archive cannot begin or cannot go on. Exit code 2."""


class RequestError(MedXferError):
    """The client can do something about it. `headers` are sent with the problem."""

    type: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed

    def __init_subclass__(cls, *, problem: str, status: int, title: str) -> None:
        cls.type, cls.status, cls.title = f"urn:medxfer:problem:{problem}", status, title


class MalformedRequest(RequestError, problem="malformed-request", status=400, title="Malformed request"): ...


class WrongParameter(RequestError, problem="wrong-parameter", status=400, title="Wrong parameter"): ...


class Unauthorized(RequestError, problem="unauthorized", status=401, title="Unauthorized"):
    headers = {"WWW-Authenticate": "Bearer"}  # noqa: RUF012  # likewise


class UnknownAddress(RequestError, problem="unknown-address", status=404, title="No such address"): ...


class UnknownModel(RequestError, problem="unknown-model", status=404, title="No such model"): ...


class WrongMethod(RequestError, problem="wrong-method", status=405, title="Wrong method"): ...


class TooSlow(RequestError, problem="too-slow", status=408, title="The request came too slowly"): ...


class BodyTooLarge(RequestError, problem="body-too-large", status=413, title="The body is too large"): ...


class UnsupportedEncoding(RequestError, problem="unsupported-encoding", status=415, title="Unsupported content encoding"): ...


class ImageError(RequestError, problem="image-error", status=422, title="The image cannot be used"):
    """Something is wrong with one image."""


class UnsupportedImage(ImageError, problem="unsupported-image", status=415, title="Unsupported image type"): ...


class UndecodableImage(ImageError, problem="undecodable-image", status=422, title="The image cannot be decoded"): ...


class UnreadableFile(ImageError, problem="unreadable-file", status=422, title="The file cannot be read"): ...  # archives only


class ImageOutOfRange(ImageError, problem="image-out-of-range", status=422, title="The image is out of range"): ...


class Overloaded(RequestError, problem="overloaded", status=429, title="Overloaded"):
    """`retry_after_seconds` is when the work in flight should be done, from its measured rate."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.headers = {"Retry-After": str(retry_after_seconds)}


class HeadTooLarge(RequestError, problem="head-too-large", status=431, title="The head is too large"): ...


class InternalError(RequestError, problem="internal-error", status=500, title="Internal error"):
    """What nobody foresaw. The log has its traceback."""


class NotReady(RequestError, problem="not-ready", status=503, title="Not ready"): ...


class NoAnswer(RequestError, problem="no-answer", status=503, title="The model has no answer"):
    """It computed no finite numbers, which no image makes a whole model do: its weights, or this machine, are damaged."""


class DeadlineExceeded(RequestError, problem="deadline-exceeded", status=504, title="Deadline exceeded"): ...

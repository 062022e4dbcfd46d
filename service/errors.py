"""All errors that the project raises on purpose, as plain exceptions.

`RequestError` and its subclasses carry what HTTP needs; `service.http.problems` turns them into problem details. A problem's
`type` is part of the API: clients match on it, so it stays when a class is renamed.
"""

from typing import ClassVar

PROBLEM = "urn:medxfer:problem:"


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

    type = PROBLEM + "request-error"
    status = 400
    title = "Bad request"
    headers: ClassVar[dict[str, str]] = {}


class MalformedRequest(RequestError):
    type = PROBLEM + "malformed-request"
    title = "Malformed request"


class Unauthorized(RequestError):
    type = PROBLEM + "unauthorized"
    status = 401
    title = "Unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class UnknownModel(RequestError):
    type = PROBLEM + "unknown-model"
    status = 404
    title = "No such model"


class TooSlow(RequestError):
    type = PROBLEM + "too-slow"
    status = 408
    title = "The request came too slowly"


class BodyTooLarge(RequestError):
    type = PROBLEM + "body-too-large"
    status = 413
    title = "The body is too large"


class UnsupportedEncoding(RequestError):
    type = PROBLEM + "unsupported-encoding"
    status = 415
    title = "Unsupported content encoding"


class ImageError(RequestError):
    """Something is wrong with one image."""

    type = PROBLEM + "image-error"
    status = 422
    title = "The image cannot be used"


class UnsupportedImage(ImageError):
    type = PROBLEM + "unsupported-image"
    status = 415
    title = "Unsupported image type"


class UndecodableImage(ImageError):
    type = PROBLEM + "undecodable-image"
    title = "The image cannot be decoded"


class UnreadableFile(ImageError):
    """A file of an archive cannot be read. HTTP never answers with it."""

    type = PROBLEM + "unreadable-file"
    title = "The file cannot be read"


class ImageOutOfRange(ImageError):
    type = PROBLEM + "image-out-of-range"
    title = "The image is out of range"


class Overloaded(RequestError):
    """`retry_after_seconds` is when the work in flight should be done, from its measured rate."""

    type = PROBLEM + "overloaded"
    status = 429
    title = "Overloaded"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.headers = {"Retry-After": str(retry_after_seconds)}  # type: ignore[misc]  # of this error, not of its class


class NotReady(RequestError):
    type = PROBLEM + "not-ready"
    status = 503
    title = "Not ready"


class DeadlineExceeded(RequestError):
    type = PROBLEM + "deadline-exceeded"
    status = 504
    title = "Deadline exceeded"

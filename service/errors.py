"""What can go wrong, as plain exceptions. `app` turns those with a `status` into HTTP problem details.

MedXferError
├── SettingError          an environment variable is wrong          exit code 3
├── ArtefactError         a model folder cannot be trusted          exit code 3
└── RequestError          the client can do something about it
    ├── MalformedRequest  400
    ├── Unauthorized      401
    ├── UnsupportedEncoding   415
    ├── ImageError        something is wrong with the image
    │   ├── UnsupportedImage   415
    │   ├── UndecodableImage   422
    │   ├── UnreadableFile     422, though only a whole archive has one
    │   └── ImageOutOfRange    422
    ├── UnknownModel      404
    ├── TooSlow           408
    ├── BodyTooLarge      413
    ├── Overloaded        429
    ├── NotReady          503
    └── DeadlineExceeded  504
"""


class MedXferError(Exception):
    """Base of every error that is raised on purpose; its message is meant for the user."""


class SettingError(MedXferError):
    pass


class ArtefactError(MedXferError):
    pass


class RequestError(MedXferError):
    status = 400
    title = "Bad request"


class MalformedRequest(RequestError):
    title = "Malformed request"


class Unauthorized(RequestError):
    status = 401
    title = "Unauthorized"


class UnsupportedEncoding(RequestError):
    status = 415
    title = "Not a content encoding we take"


class ImageError(RequestError):
    status = 422
    title = "The image cannot be used"


class UnsupportedImage(ImageError):
    status = 415
    title = "Not an image type we take"


class UndecodableImage(ImageError):
    title = "The image cannot be decoded"


class UnreadableFile(ImageError):
    title = "The file cannot be read"


class ImageOutOfRange(ImageError):
    title = "The image is out of range"


class UnknownModel(RequestError):
    status = 404
    title = "No such model"


class TooSlow(RequestError):
    status = 408
    title = "The request came too slowly"


class BodyTooLarge(RequestError):
    status = 413
    title = "The body is too large"


class Overloaded(RequestError):
    """`retry_after_seconds`: when the queue should have drained, from its measured rate."""

    status = 429
    title = "Overloaded"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotReady(RequestError):
    status = 503
    title = "Not ready"


class DeadlineExceeded(RequestError):
    status = 504
    title = "Deadline exceeded"

"""OpenAPI beyond the types of the handlers: the bodies that they read themselves, and their problems."""

from dataclasses import dataclass

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from service import errors
from service.errors import RequestError
from service.http.problems import Problem

IMAGE_FIELD, IMAGES_FIELD = "image", "images"

_IMAGE = Schema(type="string", format="binary")  # type: ignore[arg-type]  # OpenAPI's own words
_IMAGES = Schema(type="array", items=_IMAGE, min_items=1)  # type: ignore[arg-type]


def problems(*kinds: type[RequestError]) -> dict[int, ResponseSpec]:
    """The problems that a handler may answer with."""
    return {
        kind.status: ResponseSpec(
            Problem, description=kind.title, media_type="application/problem+json", generate_examples=False
        )
        for kind in kinds
    }


PROBLEMS = problems(
    errors.MalformedRequest,
    errors.Unauthorized,
    errors.TooSlow,
    errors.BodyTooLarge,
    errors.UnsupportedImage,
    errors.ImageError,
    errors.Overloaded,
    errors.NotReady,
    errors.DeadlineExceeded,
)


@dataclass
class PredictOperation(Operation):
    def __post_init__(self) -> None:
        form = Schema(type="object", properties={IMAGE_FIELD: _IMAGE}, required=[IMAGE_FIELD])  # type: ignore[arg-type]
        self.request_body = RequestBody(
            description=f"One JPEG, PNG or DICOM: a form with the field «{IMAGE_FIELD}», or the bytes as they are",
            content={"multipart/form-data": OpenAPIMediaType(schema=form), "image/*": OpenAPIMediaType(schema=_IMAGE)},
            required=True,
        )


@dataclass
class BatchOperation(Operation):
    def __post_init__(self) -> None:
        form = Schema(type="object", properties={IMAGES_FIELD: _IMAGES}, required=[IMAGES_FIELD])  # type: ignore[arg-type]
        self.request_body = RequestBody(
            description=f"A form with the field «{IMAGES_FIELD}», once for each JPEG, PNG or DICOM",
            content={"multipart/form-data": OpenAPIMediaType(schema=form)},
            required=True,
        )

"""OpenAPI beyond the types of the handlers: the bodies that they read themselves, and their problems."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody

from service import errors
from service.errors import RequestError
from service.http.problems import CONTENT_TYPE, Problem

IMAGE_FIELD, IMAGES_FIELD = "image", "images"
BINARY = {"type": "string", "format": "binary"}

JsonSchema: TypeAlias = dict[str, Any]  # Any: as JSON Schema has it


def operation(description: str, *, bodies: Mapping[str, JsonSchema], answers: Mapping[str, JsonSchema] = {}) -> type[Operation]:
    """An operation whose handler reads its body itself. `bodies` and further `answers` are schemas by media type."""

    @dataclass
    class BodyOperation(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(description=description, content=_content(bodies), required=True)
            if self.responses and isinstance(answer := self.responses["200"], OpenAPIResponse) and answer.content:
                answer.content.update(_content(answers))

    return BodyOperation


def json_object(*required: str, **properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties} | ({"required": [*required]} if required else {})


def problems(*kinds: type[RequestError]) -> dict[int, ResponseSpec]:
    """The problems that a handler may answer with."""
    spec = partial(ResponseSpec, Problem, media_type=CONTENT_TYPE, generate_examples=False)
    return {kind.status: spec(description=kind.title) for kind in kinds}


def _content(schemas: Mapping[str, JsonSchema]) -> dict[str, OpenAPIMediaType]:
    return {kind: OpenAPIMediaType(schema=schema) for kind, schema in schemas.items()}  # type: ignore[arg-type]  # a dict does


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

_ONE = f"One JPEG, PNG or DICOM: a form with the field «{IMAGE_FIELD}», or with one file of any name; or the bytes as they are"
_BODIES: Mapping[str, JsonSchema] = {
    "multipart/form-data": json_object(IMAGE_FIELD, **{IMAGE_FIELD: BINARY}),
    "image/*": BINARY,
}
PredictOperation = operation(_ONE, bodies=_BODIES)
PreviewOperation = operation(_ONE, bodies=_BODIES, answers={"image/png": BINARY})
_IMAGES = {"type": "array", "items": BINARY, "minItems": 1}
BatchOperation = operation(
    f"A form with the field «{IMAGES_FIELD}», once for each JPEG, PNG or DICOM",
    bodies={"multipart/form-data": json_object(IMAGES_FIELD, **{IMAGES_FIELD: _IMAGES})},
)

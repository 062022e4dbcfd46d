"""OpenAPI of the inference route, which reads its body itself."""

from dataclasses import dataclass
from typing import get_args

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from service.open_inference.request import MAX_ID, OutputName

_BYTES = OpenAPIMediaType(schema=Schema(type="string", format="binary"))  # type: ignore[arg-type]  # OpenAPI's own words


def _object(required: str, **properties: Schema) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, properties={**properties}, required=required.split())


def _array(items: Schema | None = None, **bounds: int) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=items, **bounds)  # type: ignore[arg-type]  # min_items, max_items


def _text(*which: str, most: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.STRING, enum=which or None, max_length=most)


_SIZE = Schema(type=OpenAPIType.INTEGER, minimum=0)
_FLAG = Schema(type=OpenAPIType.BOOLEAN)
_INPUT = _object(
    "name datatype shape",
    name=_text("images"),
    datatype=_text("BYTES", "UINT8"),
    shape=_array(_SIZE, min_items=1, max_items=3),
    data=_array(),
    parameters=_object("", binary_data_size=_SIZE),
)
_OUTPUT = _object("name", name=_text(*get_args(OutputName)), parameters=_object("", binary_data=_FLAG))
_INFERENCE = _object(
    "inputs",
    id=_text(most=MAX_ID),
    inputs=_array(_INPUT, min_items=1, max_items=1),
    outputs=_array(_OUTPUT),
    parameters=_object("", binary_data_output=_FLAG),
)


@dataclass
class InferOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            description="One input, images: BYTES [N], JPEG, PNG or DICOM (in JSON as base64), or UINT8 [N, height, width], "
            "grey levels. JSON, or, if Inference-Header-Content-Length says where it ends, JSON and the tensor's bytes",
            content={"application/json": OpenAPIMediaType(schema=_INFERENCE), "application/octet-stream": _BYTES},
            required=True,
        )
        if self.responses and isinstance(answered := self.responses["200"], OpenAPIResponse) and answered.content:
            answered.content["application/octet-stream"] = _BYTES

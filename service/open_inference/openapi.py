"""OpenAPI of the inference route, which reads its body itself."""

from typing import get_args

from service.http.openapi import BINARY, json_object, operation
from service.open_inference.request import MAX_ID, OutputName

_SIZE = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_INPUT = json_object(
    *("name", "datatype", "shape"),
    name={"type": "string", "enum": ["images"]},
    datatype={"type": "string", "enum": ["BYTES", "UINT8"]},
    shape={"type": "array", "items": _SIZE, "minItems": 1, "maxItems": 3},
    data={"type": "array"},
    parameters=json_object(binary_data_size=_SIZE),
)
_OUTPUT_NAME = {"type": "string", "enum": [*get_args(OutputName)]}
_INFERENCE = json_object(
    "inputs",
    id={"type": "string", "maxLength": MAX_ID},
    inputs={"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1},
    outputs={"type": "array", "items": json_object("name", name=_OUTPUT_NAME, parameters=json_object(binary_data=_FLAG))},
    parameters=json_object(binary_data_output=_FLAG),
)

InferOperation = operation(
    "One input, images: BYTES [N], JPEG, PNG or DICOM (in JSON as base64), or UINT8 [N, height, width], grey levels. JSON, or, "
    "if Inference-Header-Content-Length says where it ends, JSON and the tensor's bytes",
    bodies={"application/json": _INFERENCE, "application/octet-stream": BINARY},
    answers={"application/octet-stream": BINARY},
)

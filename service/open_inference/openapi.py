"""OpenAPI of the inference route, which reads its body itself."""

from typing import get_args

from service.http.openapi import BINARY, operation
from service.open_inference.request import MAX_ID, OutputName

_SIZE = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_INPUT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "enum": ["images"]},
        "datatype": {"type": "string", "enum": ["BYTES", "UINT8"]},
        "shape": {"type": "array", "items": _SIZE, "minItems": 1, "maxItems": 3},
        "data": {"type": "array"},
        "parameters": {"type": "object", "properties": {"binary_data_size": _SIZE}},
    },
    "required": ["name", "datatype", "shape"],
}
_OUTPUT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "enum": [*get_args(OutputName)]},
        "parameters": {"type": "object", "properties": {"binary_data": _FLAG}},
    },
    "required": ["name"],
}
_INFERENCE = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "maxLength": MAX_ID},
        "inputs": {"type": "array", "items": _INPUT, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": _OUTPUT},
        "parameters": {"type": "object", "properties": {"binary_data_output": _FLAG}},
    },
    "required": ["inputs"],
}

InferOperation = operation(
    "One input, images: BYTES [N], JPEG, PNG or DICOM (in JSON as base64), or UINT8 [N, height, width], grey levels. JSON, or, "
    "if Inference-Header-Content-Length says where it ends, JSON and the tensor's bytes",
    bodies={"application/json": _INFERENCE, "application/octet-stream": BINARY},
    answers={"application/octet-stream": BINARY},
)

"""Reading inference requests: what JSON tensors may hold, and how little memory a lie about sizes takes."""

import json
import tracemalloc

import pytest

from service.errors import MalformedRequest, RequestError
from service.open_inference.request import MAX_JSON_PIXELS, read_request

FEW = 100_000  # bytes


def request_with(data: bytes = b"", tensor: bytes = b"", **fields: object) -> tuple[bytes, int]:
    """A request and the length of its JSON. `data` is JSON text, `tensor` the bytes after the JSON."""
    header = json.dumps({"inputs": [{"name": "images", **fields}]}).encode()
    if data:
        header = header[:-3] + b', "data": ' + data + b"}]}"
    return header + tensor, len(header)


def binary(size: int, tensor: bytes = b"", shape: tuple[int, ...] = (1,), datatype: str = "BYTES") -> tuple[bytes, int]:
    return request_with(tensor=tensor, datatype=datatype, shape=shape, parameters={"binary_data_size": size})


ROWS_OF_ONE = request_with(b"[[" + b"[0]," * 90_000 + b"[0]]]", datatype="UINT8", shape=[1, 300, 300])
LEVELS = request_with(b"[" + b"0," * (MAX_JSON_PIXELS // 2) + b"0]", datatype="UINT8", shape=[1, 1415, 1415])
OUTPUTS = b'{"outputs":[' + b'{"name":"label"},' * 50_000 + b'{}],"inputs":[]}'


@pytest.mark.parametrize(
    ("sent", "most", "words"),
    [
        (binary(40_000_000, shape=(1, 8000, 5000), datatype="UINT8"), FEW, "0 bytes follow"),
        (request_with(b"[1]", datatype="UINT8", shape=[16, 8000, 5000]), FEW, "1 values"),
        (request_with(b"[1]", datatype="UINT8", shape=[16, 2**62, 2**62]), FEW, "px"),
        (request_with(b'[""]', datatype="BYTES", shape=[2**62]), FEW, "1 to 16"),
        (binary(2**62, b"x"), FEW, "1 bytes follow"),
        (binary(5, b"\x01\0\0\0xx"), FEW, "binary_data_size is 5; 6 bytes follow the JSON"),
        (binary(5, b"\xff\xff\xff\xffx"), FEW, r"images\[0\] ends at byte 4,294,967,299 of the tensor, which has 5"),
        (binary(5, b"\0\0\0\0x"), FEW, "the tensor has 5 bytes; the 1 images of its shape take 4"),
        ((binary(5, b"\x01\0\0\0x")[0], 10**9), FEW, "Inference-Header-Content-Length is 1,000,000,000; the body has"),
        ((binary(5, b"\x01\0\0\0x")[0], 0), FEW, "the JSON: Input data was truncated"),
        (request_with(b"[" + b'"",' * 999_999 + b'""]', datatype="BYTES", shape=[1]), 4 * 3_000_000, "1,000,000 elements"),
        (request_with(b"[" + b"[]," * 999_999 + b"[]]", datatype="BYTES", shape=[1]), 4 * 3_000_000, "1,000,000 elements"),
        (LEVELS, 4 * MAX_JSON_PIXELS, "the pixels take 4,000,003 bytes of JSON, over 4,000,000"),
        (ROWS_OF_ONE, 30 * len(ROWS_OF_ONE[0]), "nested"),
        ((OUTPUTS, len(OUTPUTS)), 8 * len(OUTPUTS), "name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rejected_request_takes_little_memory_beside_its_own(sent: tuple[bytes, int], most: int, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match=words):
            read_request(*sent, 16)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[[[0,0],[0,0]]]", "not nested as 1 × 40 × 40"),
        (b"[[" + b"0," * 1599 + b"0]]", "Expected `array`, got `int`"),
        (b"[[[" + b"0," * 1521 + b"0]" + b",[0,0]" * 39 + b"]]", "not nested as 1 × 40 × 40"),
        (b"[0,0,0,0]", "4 values; its shape needs 1,600"),
        (b"[" + b"[]," * 1599 + b"[]]", "not nested as 1 × 40 × 40"),
        (b"[" + b"0," * 1599 + b"-1]", ">= 0"),
        (b"[" + b"0," * 1599 + b"256]", "data: Expected `int` <= 255"),
        (b"[" + b"0," * 1599 + b"0.5]", "got `float`"),
        (b"[" + b"0," * 1599 + b"1e400]", "out of range"),
        (b"[" + b"0," * 1599 + b"NaN]", "malformed"),
        (b"{" + b"0," * 1599 + b"0}", "malformed"),
        (b'"' + b"," * 1599 + b'"', "got `str`"),
    ],
)
def test_pixels_that_do_not_fill_their_shape_are_rejected(data: bytes, words: str) -> None:
    content, _ = request_with(data, datatype="UINT8", shape=[1, 40, 40])
    with pytest.raises(MalformedRequest, match=words):
        read_request(content, None, 16)


def test_an_input_of_another_name_is_told_the_right_one() -> None:
    sent = json.dumps({"inputs": [{"name": "input_0", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}]}).encode()
    with pytest.raises(MalformedRequest, match="the one input is «images»"):
        read_request(sent, None, 16)

"""Reading inference requests: what JSON tensors may hold, and how little memory a lie about sizes takes."""

import json
import tracemalloc

import pytest

from service.errors import BodyTooLarge, MalformedRequest, RequestError
from service.open_inference.request import MAX_JSON_PIXELS, read_request


def request_with(data: bytes = b"", tensor: bytes = b"", **fields: object) -> tuple[bytes, int]:
    """A request and the length of its JSON. `data` is JSON text, `tensor` the bytes after the JSON."""
    header = json.dumps({"inputs": [{"name": "images", **fields}]}).encode()
    if data:
        header = header[:-3] + b', "data": ' + data + b"}]}"
    return header + tensor, len(header)


def peak_of_rejection(content: bytes, length: int | None = None) -> int:
    """The most bytes that a rejected request takes, beside its own."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            read_request(content, length, 16)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "length"),
    [
        request_with(datatype="UINT8", shape=[1, 8000, 5000], parameters={"binary_data_size": 40_000_000}),
        request_with(b"[1]", datatype="UINT8", shape=[16, 8000, 5000]),
        request_with(b"[1]", datatype="UINT8", shape=[16, 2**62, 2**62]),
        request_with(b'[""]', datatype="BYTES", shape=[2**62]),
        request_with(tensor=b"\xff\xff\xff\xff", datatype="BYTES", shape=[1], parameters={"binary_data_size": 4}),
        request_with(tensor=b"x", datatype="BYTES", shape=[1], parameters={"binary_data_size": 2**62}),
    ],
)
def test_a_false_size_allocates_no_memory(content: bytes, length: int) -> None:
    assert peak_of_rejection(content, length) < 100_000


@pytest.mark.parametrize("element", [b'"",', b"[],"])
def test_a_million_small_images_are_counted_before_any_is_decoded(element: bytes) -> None:
    content, _ = request_with(b"[" + element * 1_000_000 + element[:-1] + b"]", datatype="BYTES", shape=[1])
    assert peak_of_rejection(content) < 4 * len(content)  # at most copies of the text


def test_pixels_as_json_are_limited_before_any_is_decoded() -> None:
    data = b"[" + b"0," * (MAX_JSON_PIXELS // 2) + b"0]"
    content, _ = request_with(data, datatype="UINT8", shape=[1, 1415, 1415])
    assert peak_of_rejection(content) < 4 * len(content)
    with pytest.raises(BodyTooLarge, match="the pixels take 4,000,003 bytes of JSON, over 4,000,000"):
        read_request(content, None, 16)


def test_pixels_in_rows_of_one_take_at_most_thirty_times_their_text() -> None:
    content, _ = request_with(b"[[" + b"[0]," * 90_000 + b"[0]]]", datatype="UINT8", shape=[1, 1000, 90])
    assert peak_of_rejection(content) < 30 * len(content)


def test_many_outputs_take_few_times_their_text() -> None:
    content = b'{"outputs":[' + b'{"name":"label"},' * 50_000 + b'{}],"inputs":[]}'
    assert peak_of_rejection(content) < 8 * len(content)


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

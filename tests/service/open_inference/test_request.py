"""What a request says of sizes costs nothing before it is true."""

import json
import tracemalloc

import numpy as np
import pytest

from service.errors import MalformedRequest, RequestError
from service.images.decode import decode_pixels
from service.open_inference.request import read_request

MEGABYTE = 1_000_000


def request(rest: bytes = b"", data: bytes = b"", **tensor: object) -> tuple[bytes, int]:
    """Its body, and the length of its JSON. `data`: as it stands there."""
    header = json.dumps({"inputs": [{"name": "images", **tensor}]}).encode()
    if data:
        header = header[:-3] + b', "data": ' + data + b"}]}"
    return header + rest, len(header)


def peak(content: bytes, length: int | None) -> int:
    """Bytes that a refused request took at most, beside itself."""
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
        request(datatype="UINT8", shape=[1, 8000, 5000], parameters={"binary_data_size": 40_000_000}),
        request(datatype="UINT8", shape=[16, 8000, 5000], data=b"[1]"),
        request(datatype="UINT8", shape=[16, 2**62, 2**62], data=b"[1]"),
        request(datatype="BYTES", shape=[2**62], data=b'[""]'),
        request(b"\xff\xff\xff\xff", datatype="BYTES", shape=[1], parameters={"binary_data_size": 4}),
        request(b"x", datatype="BYTES", shape=[1], parameters={"binary_data_size": 2**62}),
    ],
)
def test_a_lie_about_sizes_makes_no_room(content: bytes, length: int) -> None:
    assert peak(content, length) < MEGABYTE / 10


@pytest.mark.parametrize(
    ("datatype", "shape", "element"),
    [
        ("BYTES", [1], b'"",'),
        ("BYTES", [16], b"[],"),
        ("UINT8", [1, 40, 40], b"[],"),
        ("UINT8", [1, 40, 40], b"999,"),
        ("UINT8", [1, 577, 577], b"[1],"),  # as many numbers as there should be
    ],
)
def test_small_elements_by_the_million_are_counted_not_built(datatype: str, shape: list[int], element: bytes) -> None:
    data = b"[" + element * 332_928 + element[:-1] + b"]"
    content, _ = request(datatype=datatype, shape=shape, data=data)
    assert peak(content, None) < 4 * len(content)  # copies of the text at most


def test_many_outputs_are_not_many_times_their_text() -> None:
    outputs = b'{"name":"label"},' * 50_000
    content = b'{"outputs":[' + outputs + b'{}],"inputs":[]}'
    assert peak(content, None) < 8 * len(content)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[[[0,0],[0,0]]]", "4 elements"),
        (b"[" + b"0," * 1599 + b"-1]", ">= 0"),
        (b"[" + b"0," * 1599 + b"0.5]", "got `float`"),
        (b"[" + b"0," * 1599 + b"1e400]", "out of range"),
        (b"[" + b"0," * 1599 + b"NaN]", "malformed"),
        (b"[[" + b"0," * 1599 + b"0]]", "nested in 2 lists; its shape needs 42, or one"),
        (b"[[[" + b"0," * 1521 + b"0]" + b",[0,0]" * 39 + b"]]", "not nested as 1 × 40 × 40"),
        (b"{" + b"0," * 1599 + b"0}", "malformed"),
        (b'"' + b"," * 1599 + b'"', "nested in 0 lists"),
    ],
)
def test_grey_levels_are_those_of_the_shape_or_refused(data: bytes, words: str) -> None:
    content, _ = request(datatype="UINT8", shape=[1, 40, 40], data=data)
    with pytest.raises(MalformedRequest, match=words):
        read_request(content, None, 16)


def test_an_empty_list_is_not_one_image() -> None:
    body = b'{"inputs":[{"name":"images","datatype":"BYTES","shape":[1],"data":[]}]}'
    with pytest.raises(MalformedRequest, match="data has 0 elements; its shape needs 1"):
        read_request(body, None, 16)


@pytest.mark.parametrize("nested", [False, True])
def test_a_million_pixels_take_few_times_their_text(nested: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1000, 1000), dtype=np.uint8)
    data = json.dumps((pixels if nested else pixels.ravel()).tolist()).encode()
    content, _ = request(datatype="UINT8", shape=[1, 1000, 1000], data=data)
    tracemalloc.start()
    try:
        asked = read_request(content, None, 16)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 3 * len(content)
    assert (asked.images[0]().grey == decode_pixels(pixels[0]).grey).all()

"""Reads inference requests: JSON, and tensors that follow it as bytes (the protocol's extension `binary_tensor_data`).
There is one input, `images`: BYTES [N], encoded images (in JSON as base64), or UINT8 [N, height, width], grey pixels. Never
allocate memory from a size that the client declares: declared sizes are compared with the bytes that are there."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from service.errors import BodyTooLarge, MalformedRequest
from service.images import limits
from service.images.decode import DecodedImage, decode_or_defer, decode_pixels

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_ID = 256  # characters
MAX_DETAIL = 200  # characters
MAX_JSON_PIXELS = 4_000_000  # bytes of text; decoding them holds the interpreter for some 20 ms

OutputName = Literal["probabilities", "heatmaps", "novelty", "label", "warnings", "abstain", "reasons"]
Decode = Callable[[], DecodedImage | Callable[[], DecodedImage]]
T = TypeVar("T")
NOTHING = Raw()
Size = Annotated[int, Meta(ge=0)]
Level = Annotated[int, Meta(ge=0, le=255)]


class InferenceRequest(NamedTuple):
    """`images` has a function for each image that decodes it. `outputs` names those wanted, and whether as bytes."""

    images: Sequence[Decode]
    outputs: dict[OutputName, bool]
    id: str | None


class _Parameters(Struct, frozen=True):
    """`binary_data_size` is of the input, `binary_data` of an output, and `binary_data_output` of the request."""

    binary_data_size: Size | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class _Input(Struct, frozen=True):
    """`shape` and `data` stay undecoded until `datatype` is known."""

    name: Literal["images"]
    datatype: Literal["BYTES", "UINT8"]
    shape: Raw
    data: Raw = NOTHING
    parameters: _Parameters = _Parameters()


class _Output(Struct, frozen=True):
    name: OutputName
    parameters: _Parameters = _Parameters()


class _Request(Struct, frozen=True):
    inputs: tuple[_Input]
    outputs: list[_Output] = []
    parameters: _Parameters = _Parameters()
    id: Annotated[str, Meta(max_length=MAX_ID)] | None = None


def read_request(body: bytes, header_length: int | None, max_images: int) -> InferenceRequest:
    """`header_length` is the number of bytes of JSON at the start of the body; None means all of it. Raises MalformedRequest,
    BodyTooLarge (pixels as JSON) and ImageOutOfRange (the size of pixels)."""
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise MalformedRequest(f"{HEADER_LENGTH} is {length:,}; the body has {len(body):,} bytes")
    request = _decode(memoryview(body)[:length], _Request, "the JSON")
    [tensor] = request.inputs
    raw = _binary_data(tensor, memoryview(body)[length:])
    read_images = _encoded_images if tensor.datatype == "BYTES" else _pixels
    return InferenceRequest(read_images(tensor, raw, max_images), _wanted_outputs(request), request.id)


def _wanted_outputs(request: _Request) -> dict[OutputName, bool]:
    as_bytes = bool(request.parameters.binary_data_output)
    wishes = {output.name: output.parameters.binary_data for output in request.outputs}
    return {name: as_bytes if (wish := wishes.get(name)) is None else wish for name in wishes or get_args(OutputName)}


def _binary_data(tensor: _Input, rest: memoryview) -> memoryview | None:
    """The bytes after the JSON, if the input is sent there."""
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is NOTHING):
        raise MalformedRequest("the input needs either data or the parameter binary_data_size")
    if (size or 0) != len(rest):
        raise MalformedRequest(f"binary_data_size is {size or 0:,}; {len(rest):,} bytes follow the JSON ({HEADER_LENGTH})")
    return None if size is None else rest


def _encoded_images(tensor: _Input, raw: memoryview | None, max_images: int) -> list[Decode]:
    [count] = _decode(tensor.shape, tuple[Size], "the shape of BYTES, [N]")
    _check_count(count, max_images)
    found = bytes(tensor.data).count(b",") + 1  # base64 has no comma, so elements are counted before any is decoded
    if raw is None and found != count:
        raise MalformedRequest(f"data has {found:,} elements; its shape needs {count:,}")
    contents = _decode(tensor.data, list[bytes], "data") if raw is None else _elements(raw, count)
    if len(contents) != count:  # an empty list has no comma either
        raise MalformedRequest(f"data has {len(contents):,} elements; its shape needs {count:,}")
    return [partial(decode_or_defer, content) for content in contents]


def _elements(raw: memoryview, count: int) -> list[bytes]:
    """Splits binary BYTES: each element follows its length, four bytes in little-endian order."""
    found, start = [], 0
    for index in range(count):
        end = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if end > len(raw):
            raise MalformedRequest(f"images[{index}] ends at byte {end:,} of the tensor, which has {len(raw):,}")
        found.append(bytes(raw[start + 4 : end]))
        start = end
    if start < len(raw):
        raise MalformedRequest(f"the tensor has {len(raw):,} bytes; the {count} images of its shape take {start:,}")
    return found


def _pixels(tensor: _Input, raw: memoryview | None, max_images: int) -> list[Decode]:
    shape = _decode(tensor.shape, tuple[Size, Size, Size], "the shape of UINT8, [N, height, width]")
    count, height, width = shape
    _check_count(count, max_images)
    limits.check_size(width, height)
    content = _json_pixels(tensor.data, shape) if raw is None else raw
    if len(content) != count * height * width:
        raise MalformedRequest(f"the tensor has {len(content):,} values; its shape needs {count * height * width:,}")
    return [partial(decode_pixels, grey) for grey in np.frombuffer(content, np.uint8).reshape(shape)]


def _json_pixels(data: Raw, shape: tuple[int, int, int]) -> bytes:
    """Pixels as a flat list of numbers, or nested as the shape."""
    text = memoryview(data)
    if len(text) > MAX_JSON_PIXELS:
        raise BodyTooLarge(f"the pixels take {len(text):,} bytes of JSON, over {MAX_JSON_PIXELS:,}; send them as binary data")
    if not re.match(rb"\s*\[\s*\[", text):
        return bytes(_decode(data, list[Level], "data"))
    images = _decode(data, list[list[list[Level]]], "data")
    if {(len(image), len(row)) for image in images for row in image} != {shape[1:]}:
        raise MalformedRequest(f"data is not nested as {' × '.join(map(str, shape))}")
    return b"".join(bytes(row) for image in images for row in image)


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise MalformedRequest(f"the shape is of {count:,} images; a request may have 1 to {most}")


def _decode(content: bytes | memoryview | Raw, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "; the one input is «images»" if "`$.inputs" in str(error) and "name`" in str(error) else ""
        raise MalformedRequest(f"{what}: {error}"[:MAX_DETAIL] + hint) from error

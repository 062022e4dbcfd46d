"""What a client of the Open Inference Protocol asks: JSON, and what of its tensor follows as bytes (the extension
`binary_tensor_data`).

One input, `images`: BYTES [N], encoded images, or UINT8 [N, height, width], grey pixels. JSON has no bytes, so there an
encoded image is base64. Nothing is made room for because a message says so: sizes are compared with what is there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from service.errors import MalformedRequest
from service.images import limits
from service.images.decode import DecodedImage, decode_image, decode_pixels

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_ID = 256  # characters
MAX_DETAIL = 200  # characters
PIECE = 2**16  # bytes of text
NUMBERS, SPACE = b"0123456789+-.eE", b" \t\r\n"

OutputName = Literal["probabilities", "heatmaps", "novelty", "label", "warnings"]
Decode = Callable[[], DecodedImage]
Kind = TypeVar("Kind")
NOTHING = Raw()
Size = Annotated[int, Meta(ge=0)]
Level = Annotated[int, Meta(ge=0, le=255)]


class Asked(NamedTuple):
    """`images`: for each, what decodes it. `outputs`: those wanted, and whether as bytes."""

    images: Sequence[Decode]
    outputs: dict[OutputName, bool]
    id: str | None


class _InputParameters(Struct, frozen=True):
    binary_data_size: Size | None = None


class _OutputParameters(Struct, frozen=True):
    binary_data: bool | None = None


class _RequestParameters(Struct, frozen=True):
    binary_data_output: bool | None = None


class _Input(Struct, frozen=True):
    """`shape`, `data`: left as they are until it is clear what they may be."""

    name: Literal["images"]
    datatype: Literal["BYTES", "UINT8"]
    shape: Raw
    data: Raw = NOTHING
    parameters: _InputParameters = _InputParameters()


class _Output(Struct, frozen=True):
    name: OutputName
    parameters: _OutputParameters = _OutputParameters()


class _Request(Struct, frozen=True):
    inputs: tuple[_Input]
    outputs: list[_Output] = []
    parameters: _RequestParameters = _RequestParameters()
    id: Annotated[str, Meta(max_length=MAX_ID)] | None = None


def read_request(body: bytes, header_length: int | None, max_images: int) -> Asked:
    """`header_length`: of the JSON that the body begins with, in bytes; None: of all of it.

    Raises MalformedRequest; ImageOutOfRange, of pixels.
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise MalformedRequest(f"{HEADER_LENGTH} is {length:,}; the body has {len(body):,} bytes")
    request = _decode(memoryview(body)[:length], _Request, "the JSON")
    [tensor] = request.inputs
    raw = _binary(tensor, memoryview(body)[length:])
    read_images = _encoded if tensor.datatype == "BYTES" else _pixels
    return Asked(read_images(tensor, raw, max_images), _wanted(request), request.id)


def _wanted(request: _Request) -> dict[OutputName, bool]:
    as_bytes = bool(request.parameters.binary_data_output)
    wishes = {output.name: output.parameters.binary_data for output in request.outputs}
    return {name: as_bytes if (wish := wishes.get(name)) is None else wish for name in wishes or get_args(OutputName)}


def _binary(tensor: _Input, rest: memoryview) -> memoryview | None:
    """What follows the JSON, where the input says so."""
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is NOTHING):
        raise MalformedRequest("the input needs either data or the parameter binary_data_size")
    if (size or 0) != len(rest):
        raise MalformedRequest(f"binary_data_size is {size or 0:,}; {len(rest):,} bytes follow the JSON ({HEADER_LENGTH})")
    return None if size is None else rest


def _encoded(tensor: _Input, raw: memoryview | None, max_images: int) -> list[Decode]:
    [count] = _decode(tensor.shape, tuple[Size], "the shape of BYTES, [N]")
    _check_count(count, max_images)
    contents = _decode(_data(tensor, count), list[bytes], "data") if raw is None else _elements(raw, count)
    if len(contents) != count:  # an empty list has no comma either
        raise MalformedRequest(f"data has {len(contents):,} elements; its shape needs {count:,}")
    return [partial(decode_image, content) for content in contents]


def _elements(raw: memoryview, count: int) -> list[bytes]:
    """Before each stands its length: four bytes, the lowest first."""
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
    content = _from_numbers(tensor, count, height, width) if raw is None else raw
    if len(content) != count * height * width:
        raise MalformedRequest(f"the tensor has {len(content):,} bytes; its shape needs {count * height * width:,}")
    return [partial(decode_pixels, grey) for grey in np.frombuffer(content, np.uint8).reshape(shape)]


def _from_numbers(tensor: _Input, count: int, height: int, width: int) -> bytearray:
    """Flat, or nested as the shape."""
    data = _data(tensor, count * height * width)
    lists, nested = data.count(b"["), 1 + count + count * height
    if lists not in (1, nested):
        raise MalformedRequest(f"data is nested in {lists:,} lists; its shape needs {nested:,}, or one")
    if lists > 1 and data.translate(None, NUMBERS + SPACE) != _brackets(count, height, width):
        raise MalformedRequest(f"data is not nested as {count} × {height} × {width}")
    return _levels(data.translate(None, b"[]" + SPACE))


def _brackets(count: int, height: int, width: int) -> bytes:
    row = b"[" + b"," * (width - 1) + b"]"
    image = b"[" + b",".join([row] * height) + b"]"
    return b"[" + b",".join([image] * count) + b"]"


def _levels(text: bytes) -> bytearray:
    """A piece at a time: a list of numbers takes several times their text, and nothing else runs while one is built."""
    levels, start = bytearray(), 0
    while start < len(text):
        end = text.find(b",", start + PIECE)
        end = end if end >= 0 else len(text)
        levels += bytes(_decode(b"[" + text[start:end] + b"]", list[Level], "data"))
        start = end + 1
    return levels


def _data(tensor: _Input, count: int) -> bytes:
    """Neither a number nor base64 has a comma in it, so that they can be counted before any is decoded."""
    data = bytes(tensor.data)
    found = data.count(b",") + 1
    if found != count:
        raise MalformedRequest(f"data has {found:,} elements; its shape needs {count:,}")
    return data


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise MalformedRequest(f"the shape is of {count:,} images; a request may have 1 to {most}")


def _decode(content: bytes | memoryview | Raw, kind: type[Kind], what: str) -> Kind:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"{what}: {error}"[:MAX_DETAIL]) from error

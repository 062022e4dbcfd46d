"""What several tests of the HTTP interface share: images, requests, and checks of answers and metrics."""

import base64
import functools

import httpx
from PIL import Image

from tests.conftest import encode, grey

MODEL = "chest-xray-best"
INFER = f"/v2/models/{MODEL}/infer"
PIXELS = grey(260, 300)
PNG = encode(PIXELS)


@functools.cache
def slow_image() -> bytes:
    """A PNG of 40 megapixels: 0.2 to 1 s to decode, and 0.7 MB to send."""
    return encode(Image.new("RGBA", (6300, 6300)), compress_level=1)


def infer_body(*contents: bytes, **changes: object) -> dict[str, object]:
    """An Open Inference request as JSON, with images in base64. `changes` replace fields of its input."""
    data = [base64.b64encode(content).decode() for content in contents]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(contents)], "data": data} | changes]}


def assert_problem(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert words in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def metric(client: httpx.Client, name: str) -> float:
    return total(client.get("/metrics").text, name)


def total(metrics: str, name: str) -> float:
    """The sum of all samples whose line starts with `name`."""
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name))

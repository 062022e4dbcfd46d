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
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert (problem["status"], problem["request_id"]) == (status, answer.headers["x-request-id"])
    assert problem["title"]
    assert words in problem["detail"]


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

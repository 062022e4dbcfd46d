"""The HTTP interface, from outside: the real service with the real model on a real socket."""

import json
import socket
import time
import uuid

import httpx
import numpy as np
import pytest
from PIL import Image

from service.artefact import read_artefact
from service.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, encode, grey, running_service

PIXELS = grey(260, 300)
PNG = encode(PIXELS)


def assert_problem(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert words in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_prediction_has_all_that_was_promised(client: httpx.Client) -> None:
    answer = client.post("/predict", content=PNG).raise_for_status().json()
    assert set(answer) == {
        "schema_version", "label", "confidence", "probabilities", "uncertain", "novelty", "warnings", "model",
        "request_id", "timing_ms", "batch_size", "disclaimer",
    }  # fmt: skip
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert set(answer["timing_ms"]) == {"decode", "queue", "inference", "total"}
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["inference"] > 0
    assert answer["batch_size"] == 1


def test_the_answer_is_the_models_own(client: httpx.Client) -> None:
    answer = client.post("/predict?heatmap=true", content=PNG).json()
    outputs = Classifier(read_artefact(DEFAULT_MODEL, answer["model"]["variant"])).classify([PIXELS])
    assert list(answer["probabilities"].values()) == outputs.probabilities[0].tolist()
    assert answer["heatmap"]["values"] == outputs.heatmaps[0].tolist()
    assert answer["novelty"]["value"] == float(outputs.novelty[0])


def test_a_form_and_the_raw_bytes_give_the_same(client: httpx.Client) -> None:
    form = client.post("/predict", files={"image": ("x.png", PNG)}).json()
    raw = client.post("/predict", content=PNG, headers={"content-type": "application/x-www-form-urlencoded"}).json()
    assert form["probabilities"] == raw["probabilities"]
    assert form["label"] == raw["label"]


def test_uncertain_means_between_the_locked_thresholds(client: httpx.Client) -> None:
    info = client.get("/model-info").json()
    answer = client.post("/predict", content=PNG).json()
    positive = answer["probabilities"][info["positive"]]
    assert answer["uncertain"] == (info["thresholds"]["screening"] <= positive < info["thresholds"]["rule_in"])


def test_an_image_unlike_the_training_images_says_so(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    answer = client.post("/predict", content=encode(noise)).json()
    assert answer["novelty"]["level"] == "foreign"
    assert "foreign" in answer["warnings"][0]


def test_model_info_is_model_json_and_what_runs(client: httpx.Client) -> None:
    info = client.get("/model-info").raise_for_status().json()
    description = json.loads((DEFAULT_MODEL / "model.json").read_text())
    assert {key: info[key] for key in description} == description
    assert set(info) - set(description) == {"running", "disclaimer"}
    assert info["running"]["lanes"] >= 1
    assert info["running"]["limits"]["max_side_px"] == 8192


@pytest.mark.parametrize(("path", "status"), [("/health", "ready"), ("/health/ready", "ready"), ("/health/live", "live")])
def test_health(client: httpx.Client, path: str, status: str) -> None:
    assert client.get(path).raise_for_status().json() == {"status": status}


def test_openapi_describes_the_body(client: httpx.Client) -> None:
    operation = client.get("/schema/openapi.json").raise_for_status().json()["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "image/*"}


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 415, "0 bytes"),
        (b"hello", 415, "neither JPEG nor PNG"),
        (encode(PIXELS, "GIF"), 415, "neither JPEG nor PNG"),
        (PNG[:-100], 422, "damaged"),
        (encode(Image.new("L", (20, 20))), 422, "20 × 20"),
        (encode(Image.new("L", (500, 100))), 422, "4 times"),
    ],
    ids=["empty", "text", "gif", "truncated", "tiny", "thin"],
)
def test_a_bad_image_is_the_clients_business(client: httpx.Client, content: bytes, status: int, words: str) -> None:
    assert_problem(client.post("/predict", content=content), status, words)


BOUNDARY = b"------------------------d74496d66958873e"


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("multipart/form-data", b"x", "boundary"),
        (f"multipart/form-data; boundary={BOUNDARY[2:].decode()}", b"", "form"),
        (f"multipart/form-data; boundary={BOUNDARY[2:].decode()}", BOUNDARY + b"\r\n", "form"),
        ("multipart/form-data; boundary=other", BOUNDARY + b"\r\n\r\nx\r\n" + BOUNDARY + b"--\r\n", "form"),
        ("multipart/form-data; boundary=\u00e9; charset=zzz", b"x", "form"),
    ],
    ids=["no boundary", "empty", "cut short", "wrong boundary", "odd charset"],
)
def test_a_malformed_form_is_the_clients_business(client: httpx.Client, content_type: str, body: bytes, words: str) -> None:
    headers = {"content-type": content_type.encode("latin-1")}
    assert_problem(client.post("/predict", content=body, headers=headers), 400, words)  # type: ignore[arg-type]  # raw bytes


@pytest.mark.parametrize("names", [[], ["picture"], ["image", "image"], ["a", "b", "c", "d", "image"]])
def test_a_form_needs_one_image(client: httpx.Client, names: list[str]) -> None:
    files = [(name, ("x.png", PNG)) for name in names] or [("other", ("", b"text"))]
    assert_problem(client.post("/predict", files=files), 400, "form")


@pytest.mark.parametrize("file_name", ["../../etc/passwd", "x\r\ny", "a" * 3000, "\udce9.png", ""])
def test_what_the_file_is_called_does_not_matter(client: httpx.Client, file_name: str) -> None:
    name = file_name.encode("utf-8", "surrogateescape").replace(b"\r\n", b"%0D%0A")
    body = b'--cut\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n--cut--\r\n' % (name, PNG)
    answer = client.post("/predict", content=body, headers={"content-type": "multipart/form-data; boundary=cut"})
    assert answer.status_code == 200, answer.text


def test_what_the_form_says_is_not_echoed(client: httpx.Client) -> None:
    body = b'--cut\r\nContent-Disposition: form-data; name="image" filename="secret\r\n\r\n--cut--\r\n'
    answer = client.post("/predict", content=body, headers={"content-type": "multipart/form-data; boundary=cut"})
    assert_problem(answer, 400, "form")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/predict", 405), ("POST", "/predict?heatmap=perhaps", 400)],
)
def test_a_wrong_address_is_a_problem_too(client: httpx.Client, method: str, path: str, status: int) -> None:
    assert_problem(client.request(method, path), status, "")


def test_a_request_id_is_accepted_and_an_odd_one_replaced(client: httpx.Client) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    replaced = client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert uuid.UUID(replaced)


def open_request(client: httpx.Client, body_sent: int) -> socket.socket:
    """A POST whose body stops after `body_sent` bytes, and which holds its place when this returns."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PNG)}\r\n\r\n"
    connection.sendall(head.encode() + PNG[:body_sent])
    # A connection made later is served later, and one already open might be served before.
    httpx.get(f"{client.base_url}/health", trust_env=False).raise_for_status()
    return connection


def test_limits_are_kept_and_said() -> None:
    with running_service(max_body_bytes=len(PNG), queue_limit=1, deadline_ms=2000) as client:
        assert client.post("/predict", content=PNG).status_code == 200
        assert_problem(client.post("/predict", content=PNG + b"x"), 413, f"{len(PNG):,} bytes")
        chunked = client.post("/predict", content=iter([PNG, b"x"]))
        assert_problem(chunked, 413, f"{len(PNG):,} bytes")

        with open_request(client, body_sent=100) as slow:
            busy = client.post("/predict", content=PNG)
            assert_problem(busy, 429, "1 requests")
            assert int(busy.headers["retry-after"]) >= 1
            assert client.get("/health").status_code == 200
            assert b" 408 " in slow.recv(4096)
        assert client.post("/predict", content=PNG).status_code == 200


def test_a_client_that_leaves_gives_its_place_back() -> None:
    with running_service(queue_limit=1, deadline_ms=600_000) as client:
        for body_sent in (0, 100):
            with open_request(client, body_sent):
                assert client.post("/predict", content=PNG).status_code == 429
            for _ in range(200):  # the service sees a connection go in its own time
                if client.post("/predict", content=PNG).status_code == 200:
                    break
                time.sleep(0.02)
            else:
                raise AssertionError("the place was never given back")


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    large = encode(Image.new("RGBA", (6300, 6300)), compress_level=1)
    with running_service(deadline_ms=100) as client:
        assert_problem(client.post("/predict", content=large), 504, "100 ms")

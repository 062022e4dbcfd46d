"""The HTTP interface with its default settings: the real service with the real model on a real socket."""

import json
import re

import httpx
import pytest

from tests.conftest import DEFAULT_MODEL, dicom_of, encode, grey
from tests.service.http.helpers import PIXELS, PNG, assert_problem, metric, slow_image


def test_a_prediction_has_all_documented_fields(client: httpx.Client) -> None:
    response = client.post("/predict", content=PNG).raise_for_status()
    timing = r"decode;dur=[\d.]+, queue;dur=[\d.]+, inference;dur=[\d.]+, total;dur=\d+\.\d\d"
    assert re.fullmatch(timing, response.headers["server-timing"])
    answer = response.json()
    assert set(answer) == {
        "schema_version", "label", "confidence", "probabilities", "uncertain", "novelty", "warnings", "model",
        "request_id", "timing_ms", "batch_size", "disclaimer",
    }  # fmt: skip
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert set(answer["timing_ms"]) == {"decode", "queue", "inference", "total"}
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["inference"] > 0
    assert answer["batch_size"] == 1


def test_a_form_with_a_long_file_name_and_the_raw_bytes_give_the_same(client: httpx.Client) -> None:
    form = client.post("/predict", files={"image": ("a" * 3000, PNG)}).json()
    raw = client.post("/predict", content=PNG, headers={"content-type": "application/x-www-form-urlencoded"}).json()
    assert form["probabilities"] == raw["probabilities"]
    assert form["label"] == raw["label"]


def test_model_info_is_model_json_and_what_runs(client: httpx.Client) -> None:
    info = client.get("/model-info").raise_for_status().json()
    description = json.loads((DEFAULT_MODEL / "model.json").read_text())
    assert {key: info[key] for key in description} == description
    assert set(info) - set(description) == {"running", "disclaimer"}
    assert info["running"]["limits"]["max_side_px"] == 8192


@pytest.mark.parametrize(("content", "status", "words"), [(b"", 415, "0 bytes"), (PNG[:-100], 422, "damaged")])
def test_a_bad_image_is_a_problem(client: httpx.Client, content: bytes, status: int, words: str) -> None:
    assert_problem(client.post("/predict", content=content), status, words)


@pytest.mark.parametrize("boundary", [b"cut", b"\xe9; charset=zzz"])
def test_a_malformed_form_is_a_problem_and_not_echoed(client: httpx.Client, boundary: bytes) -> None:
    body = b'--cut\r\nContent-Disposition: form-data; name="image" filename="secret\r\n\r\n--cut--\r\n'
    answer = client.post("/predict", content=body, headers={b"content-type": b"multipart/form-data; boundary=" + boundary})
    assert_problem(answer, 400, "form")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nowhere", 404, "/schema/openapi.json"),
        ("GET", "/predict", 405, "not by GET; this address takes "),
        ("POST", "/predict?heatmap=perhaps", 400, "heatmap is 'perhaps': Expected `bool`"),
    ],
)
def test_a_wrong_address_is_a_problem(client: httpx.Client, method: str, path: str, status: int, words: str) -> None:
    answer = client.request(method, path)
    assert_problem(answer, status, words)
    assert "type" not in answer.json()  # RFC 9457: about:blank, the status says it all


def test_a_valid_request_id_is_kept_and_an_invalid_one_replaced(client: httpx.Client) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    replaced = client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", replaced)


def test_a_valid_trace_is_returned_and_an_invalid_one_is_not(client: httpx.Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert client.get("/health", headers={"traceparent": trace}).headers["traceparent"] == trace
    assert "traceparent" not in client.get("/health", headers={"traceparent": "00-x"}).headers


def test_an_answer_that_is_not_ready_at_the_deadline_is_a_problem(client: httpx.Client) -> None:
    answer = client.post("/predict", content=slow_image(), headers={"x-request-timeout-ms": "1"})
    assert answer.status_code in (408, 504)  # 408 if the machine takes as long to receive it
    assert_problem(answer, answer.status_code, "after 1 ms")


def test_a_batch_answers_or_rejects_each_image_by_itself_in_order(client: httpx.Client) -> None:
    contents = [PNG, b"no image", encode(grey(300, 200)), PNG[:-100]]
    batch = client.post("/predict/batch?heatmap=true", files=[("images", content) for content in contents]).raise_for_status()
    results = batch.json()["results"]
    assert [list(result) for result in results] == [["prediction"], ["problem"], ["prediction"], ["problem"]]
    assert [results[index]["problem"]["status"] for index in (1, 3)] == [415, 422]
    for index in (0, 2):
        alone = client.post("/predict?heatmap=true", content=contents[index]).json()
        for key in ("probabilities", "heatmap", "novelty"):
            assert results[index]["prediction"][key] == alone[key]
    assert {entry["request_id"] for result in results for entry in result.values()} == {batch.headers["x-request-id"]}


def test_a_batch_is_a_form_of_limited_size(client: httpx.Client) -> None:
    most = client.get("/model-info").json()["running"]["limits"]["max_images"]
    assert_problem(client.post("/predict/batch", files=[("images", PNG)] * (most + 1)), 400, f"1 to {most} times")
    assert_problem(client.post("/predict/batch", files=[("image", PNG)]), 400, "0 times")
    assert_problem(client.post("/predict/batch", content=PNG), 400, "form")


def test_an_unusual_age_has_a_warning_and_no_patient_data_is_echoed(client: httpx.Client) -> None:
    answer = client.post("/predict", content=dicom_of(PIXELS, PatientAge="063Y", PatientName="SECRET"))
    assert any("1 to 5 years" in warning for warning in answer.json()["warnings"])
    assert "63" not in " ".join(answer.json()["warnings"])
    assert "SECRET" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/nowhere"), ("POST", "/predict"), ("GET", "/metrics")]
)
def test_every_answer_has_its_time_and_safe_headers(client: httpx.Client, method: str, path: str) -> None:
    headers = client.request(method, path, headers={"origin": "https://example.org"}).headers
    assert re.search(r"\btotal;dur=\d+\.\d\d$", headers["server-timing"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not {"server", "access-control-allow-origin"} & set(headers)


def test_metrics_count_what_happened(client: httpx.Client) -> None:
    names = [
        'medxfer_requests_total{outcome="answered",route="/predict"}',
        'medxfer_images_total{outcome="refused"}',
        "medxfer_predictions_total",
        "medxfer_positive_probability_count",
        "medxfer_inference_seconds_count",
    ]
    before = [metric(client, name) for name in names]
    client.post("/predict", content=PNG)
    client.post("/predict", content=b"no image")
    assert [metric(client, name) - start for name, start in zip(names, before, strict=True)] == [1, 1, 1, 1, 1]
    text = client.get("/metrics").text
    assert 'medxfer_model_info{name="chest-xray-best"' in text
    assert "process_resident_memory_bytes" in text

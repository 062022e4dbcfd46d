"""The HTTP interface with its default settings: the real service with the real model on a real socket."""

import json
import re

import httpx
import numpy as np
import pytest

from tests.conftest import DEFAULT_MODEL, dicom_of, encode, grey
from tests.service.http.helpers import INFER, PIXELS, PNG, assert_problem, metric

ALIKE = ("label", "probabilities", "heatmap", "novelty", "warnings")


def test_a_prediction_has_all_documented_fields(client: httpx.Client) -> None:
    response = client.post("/predict", content=PNG).raise_for_status()
    timing = r"decode;dur=[\d.]+, queue;dur=[\d.]+, inference;dur=[\d.]+, total;dur=\d+\.\d\d"
    assert re.fullmatch(timing, response.headers["server-timing"])
    answer = response.json()
    fields = (
        "schema_version label confidence probabilities uncertain abstain reasons novelty warnings model request_id timing_ms"
    )
    assert set(answer) == {*fields.split(), "batch_size", "disclaimer"}
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert set(answer["timing_ms"]) == {"decode", "queue", "inference", "total"}
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["inference"] > 0
    assert answer["batch_size"] == 1


def test_model_info_is_model_json_and_what_runs(client: httpx.Client) -> None:
    info = client.get("/model-info").raise_for_status().json()
    running = info.pop("running")
    assert info == json.loads((DEFAULT_MODEL / "model.json").read_text()) | {"disclaimer": info["disclaimer"]}
    assert running["limits"]["max_side_px"] == 8192


@pytest.mark.parametrize("boundary", [b"cut", b"\xe9; charset=zzz"])
def test_a_malformed_form_is_a_problem_and_not_echoed(client: httpx.Client, boundary: bytes) -> None:
    body = b'--cut\r\nContent-Disposition: form-data; name="image" filename="secret\r\n\r\n--cut--\r\n'
    answer = client.post("/predict", content=body, headers={b"content-type": b"multipart/form-data; boundary=" + boundary})
    assert_problem(answer, 400, "form")
    assert "secret" not in answer.text


def test_the_one_file_of_a_form_is_read_whatever_its_field_is_called(client: httpx.Client) -> None:
    expected = client.post("/predict", files={"image": PNG}).raise_for_status().json()["probabilities"]
    for field in ("file", "X-ray", "images"):
        answer = client.post("/predict", files={field: PNG}, data={"note": "a text is no file"}).raise_for_status()
        assert answer.json()["probabilities"] == expected
    [result] = client.post("/predict/batch", files={"file": PNG}).raise_for_status().json()["results"]
    assert result["prediction"]["probabilities"] == expected


def test_of_several_files_only_those_with_the_right_name_are_read(client: httpx.Client) -> None:
    answer = client.post("/predict", files=[("file", b"no image"), ("image", PNG)])
    assert answer.status_code == 200
    words = "the form needs the field «image» once, it has it 0 times"
    assert_problem(client.post("/predict", files=[("file", PNG), ("scan", PNG)]), 400, words)
    for field, times in (("image", "more often"), ("file", "0 times")):
        words = f"the form needs the field «image» once, it has it {times}; several images go to /predict/batch"
        assert_problem(client.post("/predict", files=[(field, PNG)] * 2), 400, words)


@pytest.mark.parametrize("count", [17, 19, 20, 300])
def test_a_batch_of_too_many_images_names_the_limit(client: httpx.Client, count: int) -> None:
    answer = client.post("/predict/batch", files=[("images", b"x")] * count)
    assert_problem(answer, 400, "the form needs the field «images» 1 to 16 times, it has it more often")


MEANT = {
    b'{"image": "aGVsbG8="}': ("application/json", "JSON goes to /v2"),
    b"data:image/png;base64,aGVsbG8=": ("text/plain", "a data URL is text"),
    PNG.replace(b"\n", b""): ("application/x-www-form-urlencoded", "use --data-binary"),
    PNG[:200]: ("application/x-www-form-urlencoded", "use --data-binary"),
    b"no image": ("text/plain", "neither JPEG nor PNG nor DICOM"),
}


@pytest.mark.parametrize("body", MEANT)
def test_a_body_that_is_no_image_is_told_what_may_have_been_meant(client: httpx.Client, body: bytes) -> None:
    content_type, words = MEANT[body]
    answer = client.post("/predict", content=body, headers={"content-type": content_type})
    assert_problem(answer, answer.status_code, words)
    assert ("; " in answer.json()["detail"]) == (body != b"no image")


WRONG_ADDRESSES = [
    ("GET", "/nowhere", 404, "unknown-address", "/docs and /schema/openapi.json list them"),
    ("GET", "/schema", 404, "unknown-address", "/docs and /schema/openapi.json list them"),
    ("GET", "/schema/nowhere", 404, "unknown-address", "/docs and /schema/openapi.json list them"),
    ("GET", "/schema/nowhere.json", 404, "unknown-address", "/docs and /schema/openapi.json list them"),
    ("PUT", "/health", 405, "wrong-method", "not by PUT; this address takes "),
    ("POST", "/predict?heatmap=perhaps", 400, "wrong-parameter", "heatmap is 'perhaps': Expected `bool`"),
    ("POST", "/predict?Heatmap=true", 400, "wrong-parameter", "'Heatmap' is no parameter of this address; it takes heatmap"),
    ("POST", "/predict/batch?heatmap=true&x=", 400, "wrong-parameter", "'x' is no parameter of this address; it takes heatmap"),
    ("POST", f"{INFER}?heatmap=true", 400, "wrong-parameter", "'heatmap' is no parameter of this address; it takes none"),
]


@pytest.mark.parametrize(("method", "path", "status", "kind", "words"), WRONG_ADDRESSES)
def test_a_wrong_address_method_or_parameter_is_a_problem(
    client: httpx.Client, method: str, path: str, status: int, kind: str, words: str
) -> None:
    answer = client.request(method, path)
    assert_problem(answer, status, words)
    assert answer.json()["type"] == f"urn:medxfer:problem:{kind}"


@pytest.mark.parametrize(("path", "field"), [("/predict", "image"), ("/predict/batch", "images")])
def test_an_address_of_predictions_says_to_a_browser_how_to_ask(client: httpx.Client, path: str, field: str) -> None:
    answer = client.get(path)
    assert_problem(answer, 405, f": curl -F {field}=@xray.jpeg ")
    assert answer.json()["detail"].endswith(f" {client.base_url.netloc.decode()}{path}")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/metrics", "/", "/web/main.js", "/model-info", "/v2/health/ready"]
)
def test_probes_and_pages_may_add_parameters(client: httpx.Client, path: str) -> None:
    assert client.get(f"{path}?version=3&Heatmap=true").status_code == 200


def test_a_valid_request_id_or_trace_is_returned_and_an_invalid_one_is_not(client: httpx.Client) -> None:
    valid = {"x-request-id": "abc-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert valid.items() <= client.get("/health", headers=valid).headers.items()
    replaced = client.get("/health", headers={"x-request-id": "a b", "traceparent": "00-x"}).headers
    assert re.fullmatch("[0-9a-f]{32}", replaced["x-request-id"])
    assert "traceparent" not in replaced


def test_a_batch_answers_or_rejects_each_image_as_alone_and_in_order(client: httpx.Client) -> None:
    contents = [PNG, b"no image", encode(grey(300, 200)), PNG[:-100]]
    files = [("images", ("a" * 3000, content)) for content in contents]
    batch = client.post("/predict/batch?heatmap=true", files=files).raise_for_status()
    entries = [entry for result in batch.json()["results"] for entry in result.items()]
    assert [kind for kind, _ in entries] == ["prediction", "problem"] * 2
    assert [found["status"] for _, found in entries[1::2]] == [415, 422]
    for content, (_, found) in zip(contents[::2], entries[::2], strict=True):
        alone = client.post("/predict?heatmap=true", content=content).json()
        assert [found[key] for key in ALIKE] == [alone[key] for key in ALIKE]
    assert {found["request_id"] for _, found in entries} == {batch.headers["x-request-id"]}


@pytest.mark.parametrize("request_line", ["GET /health", "GET /nowhere", "POST /predict", "GET /metrics"])
def test_every_answer_has_its_time_and_safe_headers(client: httpx.Client, request_line: str) -> None:
    headers = client.request(*request_line.split(), headers={"origin": "https://example.org"}).headers
    safe = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}
    assert safe.items() <= headers.items()
    assert re.search(r"\btotal;dur=\d+\.\d\d$", headers["server-timing"])
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not {"server", "access-control-allow-origin"} & set(headers)


COUNTED = [
    'medxfer_requests_total{outcome="answered",route="/predict"}',
    'medxfer_images_total{outcome="refused"}',
    *("medxfer_predictions_total", "medxfer_positive_probability_count", "medxfer_inference_seconds_count"),
]


def test_metrics_count_what_happened(client: httpx.Client) -> None:
    before = [metric(client, name) for name in COUNTED]
    client.post("/predict", content=PNG)
    client.post("/predict", content=b"no image")
    assert [metric(client, name) for name in COUNTED] == [count + 1 for count in before]
    assert metric(client, 'medxfer_model_info{name="chest-xray-best"') == 1
    assert metric(client, "process_resident_memory_bytes") > 0


def test_abstentions_are_counted_by_reason(client: httpx.Client) -> None:
    def counted() -> dict[str, float]:
        return {reason: metric(client, f'medxfer_abstentions_total{{reason="{reason}"}}') for reason in ("foreign", "inverted")}

    before = counted()
    answer = client.post("/predict", content=encode(255 - PIXELS)).raise_for_status().json()
    assert {"foreign", "inverted"} <= set(answer["reasons"])
    assert counted() == {reason: count + 1 for reason, count in before.items()}


def test_a_large_uncompressed_radiograph_is_taken(client: httpx.Client) -> None:
    large = np.tile((4000 * (PIXELS / 255)).astype(np.uint16), (15, 14))[:4280, :3520]
    content = dicom_of(large, BitsStored=12)
    assert len(content) > 30_000_000
    answer = client.post("/predict", content=content, timeout=60).raise_for_status().json()
    assert answer["warnings"] == [warning for warning in answer["warnings"] if "unlike" in warning]

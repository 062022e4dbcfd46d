"""The HTTP interface, from outside: the real service with the real model on a real socket."""

import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, dicom_of, encode, grey, running_service

PIXELS = grey(260, 300)
PNG = encode(PIXELS)
SLOW = encode(Image.new("RGBA", (6300, 6300)), compress_level=1)  # a third of a second to decode


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
        (b"hello", 415, "neither JPEG nor PNG nor DICOM"),
        (encode(PIXELS, "GIF"), 415, "neither JPEG nor PNG nor DICOM"),
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
    ("method", "path", "status", "words"),
    [
        ("GET", "/nowhere", 404, "/schema/openapi.json"),
        ("GET", "/predict", 405, "not by GET; this address takes "),
        ("POST", "/predict?heatmap=perhaps", 400, "heatmap is 'perhaps': Expected `bool`"),
    ],
)
def test_a_wrong_address_is_a_problem_too(client: httpx.Client, method: str, path: str, status: int, words: str) -> None:
    assert_problem(client.request(method, path), status, words)


def test_a_request_id_is_accepted_and_an_odd_one_replaced(client: httpx.Client) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    replaced = client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", replaced)


def test_limits_are_kept_and_said() -> None:
    with running_service(max_body_bytes=len(PNG), queue_bytes=len(PNG)) as client:
        assert client.post("/predict", content=PNG).status_code == 200
        assert_problem(client.post("/predict", content=PNG + b"x"), 413, f"{len(PNG):,} bytes")
        chunked = client.post("/predict", content=iter([PNG, b"x"]))
        assert_problem(chunked, 413, f"{len(PNG):,} bytes")


def test_a_full_service_says_when_to_come_again_and_its_health_answers() -> None:
    with running_service(queue_limit=1, lanes=1) as client, ThreadPoolExecutor() as threads:
        first = threads.submit(httpx.post, f"{client.base_url}/predict", content=SLOW, trust_env=False)
        while not metric(client, "medxfer_in_flight_images"):
            assert not first.done()
        answers = []
        while not first.done():
            answers.append(client.post("/predict", content=PNG))
            assert client.get("/health").status_code == 200
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused
        assert_problem(refused[0], 429, "images in work: 1")
        assert int(refused[0].headers["retry-after"]) >= 1
        assert first.result().status_code == 200
        assert client.post("/predict", content=PNG).status_code == 200


def test_a_client_may_shorten_the_deadline_and_not_lengthen_it() -> None:
    with running_service(deadline_ms=100) as client:
        for timeout_ms, limit_ms in ((50, 50), (100_000, 100)):
            answer = client.post("/predict", content=SLOW, headers={"x-request-timeout-ms": str(timeout_ms)})
            assert answer.status_code in (408, 504)  # 408 where the machine takes as long to receive it
            assert f"after {limit_ms} ms" in answer.json()["detail"]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "", "99999999999999999999999999"])
def test_a_timeout_that_makes_no_sense_is_refused(client: httpx.Client, value: str) -> None:
    answer = client.post("/predict", content=PNG, headers={"x-request-timeout-ms": value})
    assert answer.status_code in ({400} if value != "99999999999999999999999999" else {200, 400}), answer.text


def test_a_batch_answers_or_refuses_each_image_by_itself_in_order(client: httpx.Client) -> None:
    contents = [PNG, b"no image", encode(grey(300, 200)), PNG[:-100]]
    batch = client.post("/predict/batch?heatmap=true", files=[("images", content) for content in contents]).raise_for_status()
    results = batch.json()["results"]
    assert [list(result) for result in results] == [["prediction"], ["problem"], ["prediction"], ["problem"]]
    assert [results[index]["problem"]["status"] for index in (1, 3)] == [415, 422]
    for index in (0, 2):
        alone = client.post("/predict?heatmap=true", content=contents[index]).json()
        assert results[index]["prediction"]["probabilities"] == alone["probabilities"]
        assert results[index]["prediction"]["heatmap"] == alone["heatmap"]
    assert {inner["request_id"] for result in results for inner in result.values()} == {batch.headers["x-request-id"]}


def test_a_batch_is_bounded_and_a_form(client: httpx.Client) -> None:
    most = client.get("/model-info").json()["running"]["limits"]["max_images"]
    assert len(client.post("/predict/batch", files=[("images", PNG)] * most).json()["results"]) == most
    assert_problem(client.post("/predict/batch", files=[("images", PNG)] * (most + 1)), 400, f"1 to {most} times")
    assert_problem(client.post("/predict/batch", files=[("image", PNG)]), 400, "0 times")
    assert_problem(client.post("/predict/batch", content=PNG), 400, "form")


def test_images_of_a_batch_take_places_as_others_do() -> None:
    with running_service(queue_limit=2, lanes=1) as client, ThreadPoolExecutor() as threads:
        assert_problem(client.post("/predict/batch", files=[("images", PNG)] * 3), 400, "1 to 2 times")
        first = threads.submit(httpx.post, f"{client.base_url}/predict", content=SLOW, trust_env=False)
        while not metric(client, "medxfer_in_flight_images"):
            assert not first.done()
        results = client.post("/predict/batch", files=[("images", PNG)] * 2).json()["results"]
        assert [list(result) for result in results] == [["prediction"], ["problem"]]
        assert results[1]["problem"]["status"] == 429


def test_what_is_decoded_for_nobody_still_takes_its_place() -> None:
    with running_service(queue_limit=1, lanes=1) as client:
        answer = client.post("/predict", content=SLOW, headers={"x-request-timeout-ms": "60"})
        assert answer.status_code in (408, 504)
        if answer.status_code == 504:
            assert client.post("/predict", content=PNG).status_code == 429
        while metric(client, "medxfer_in_flight_images"):
            pass
        assert client.post("/predict", content=PNG).status_code == 200


def test_the_same_image_alone_and_among_sixteen_gives_the_same_bits(client: httpx.Client) -> None:
    contents = [encode(grey(200 + 10 * index, 260, seed=index)) for index in range(16)]
    alone = [client.post("/predict?heatmap=true", content=content).json() for content in contents]
    together = client.post("/predict/batch?heatmap=true", files=[("images", content) for content in contents]).json()["results"]
    for key in ("probabilities", "heatmap", "novelty"):
        assert [answer["prediction"][key] for answer in together] == [answer[key] for answer in alone]


def test_the_same_image_as_png_sixteen_bits_and_dicom_gives_the_same(client: httpx.Client) -> None:
    wide = PIXELS.astype(np.uint16) * 257
    forms = [
        PNG,
        encode(wide),
        dicom_of(PIXELS),
        dicom_of(wide),
        dicom_of(255 - PIXELS, PhotometricInterpretation="MONOCHROME1"),
    ]
    answers = [client.post("/predict", content=content).raise_for_status().json() for content in forms]
    confidences = [answer["confidence"] for answer in answers]
    assert max(confidences) - min(confidences) < 0.001


def test_a_patient_of_another_age_is_warned_of_and_not_echoed(client: httpx.Client) -> None:
    answer = client.post("/predict", content=dicom_of(PIXELS, PatientAge="063Y", PatientName="SECRET"))
    assert any("1 to 5 years" in warning for warning in answer.json()["warnings"])
    assert "63" not in " ".join(answer.json()["warnings"])
    assert "SECRET" not in answer.text


def test_a_compressed_body_is_refused_not_unpacked(client: httpx.Client) -> None:
    answer = client.post("/predict", content=gzip.compress(PNG), headers={"content-encoding": "gzip"})
    assert_problem(answer, 415, "Content-Encoding is 'gzip'")


def test_who_lacks_the_token_is_refused_and_health_needs_none() -> None:
    with running_service(token="s3cret-token") as client:
        for offered in ({}, {"authorization": "Bearer s3cret"}, {"authorization": "Basic s3cret-token"}):
            for answer in (client.post("/predict", content=PNG, headers=offered), client.get("/metrics", headers=offered)):
                assert_problem(answer, 401, "Bearer")
                assert answer.headers["www-authenticate"] == "Bearer"
        bearing = {"authorization": "Bearer s3cret-token"}
        assert client.post("/predict", content=PNG, headers=bearing).status_code == 200
        assert client.post("/predict", content=PNG, headers={"authorization": "bearer  s3cret-token"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_pages_from_elsewhere_may_ask_only_where_the_operator_says_so(client: httpx.Client) -> None:
    asking = {"origin": "https://example.org"}
    assert "access-control-allow-origin" not in client.post("/predict", content=PNG, headers=asking).headers
    with running_service(cors_origin="https://example.org") as open_client:
        answer = open_client.post("/predict", content=PNG, headers=asking)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        other = open_client.post("/predict", content=PNG, headers={"origin": "https://example.com"})
        assert other.headers.get("access-control-allow-origin") != "https://example.com"


def test_a_page_from_elsewhere_can_read_that_it_is_to_come_later() -> None:
    with running_service(cors_origin="https://example.org", queue_limit=1, lanes=1) as client, ThreadPoolExecutor() as threads:
        first = threads.submit(httpx.post, f"{client.base_url}/predict", content=SLOW, trust_env=False)
        while not metric(client, "medxfer_in_flight_images"):
            assert not first.done()
        answer = client.post("/predict", content=PNG, headers={"origin": "https://example.org"})
        assert_problem(answer, 429, "images in work: 1")
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/nowhere"), ("POST", "/predict"), ("GET", "/metrics")]
)
def test_every_answer_is_timed_and_behind_safe_headers(client: httpx.Client, method: str, path: str) -> None:
    headers = client.request(method, path).headers
    assert re.search(r"\btotal;dur=\d+\.\d\d$", headers["server-timing"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_a_predictions_parts_are_timed(client: httpx.Client) -> None:
    timing = client.post("/predict", content=PNG).headers["server-timing"]
    assert re.fullmatch(r"decode;dur=[\d.]+, queue;dur=[\d.]+, inference;dur=[\d.]+, total;dur=[\d.]+", timing)


def test_a_trace_is_passed_on_and_an_odd_one_is_not(client: httpx.Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert client.get("/health", headers={"traceparent": trace}).headers["traceparent"] == trace
    assert "traceparent" not in client.get("/health", headers={"traceparent": "00-x"}).headers


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


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
    assert [metric(client, name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 1, 1, 1]
    text = client.get("/metrics").text
    assert 'medxfer_model_info{name="chest-xray-best"' in text
    assert "medxfer_in_flight_images 0.0" in text
    assert "process_resident_memory_bytes" in text

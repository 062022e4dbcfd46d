"""The Open Inference Protocol, as Triton's own client speaks it with the real service."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service.http.info import VERSION
from tests.conftest import dicom_of, encode, grey, running_service
from tests.service.http.test_predict import SLOW, assert_problem, metric

MODEL = "chest-xray-best"
INFER = f"/v2/models/{MODEL}/infer"
OUTPUTS = ["probabilities", "heatmaps", "novelty", "label", "warnings"]
PIXELS = grey(260, 300)
PNG = encode(PIXELS)

Tensors = dict[str, list[Any]]  # Any: numbers, nested or not, or bytes


@pytest.fixture(scope="module")
def server(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    with connected(client) as server:
        yield server


def connected(client: httpx.Client) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}", concurrency=2)


def encoded(*contents: bytes | str, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", [len(contents)], "BYTES")
    return tensor.set_data_from_numpy(np.array(contents, dtype=object), binary_data=binary)


def pixels(stack: npt.NDArray[np.uint8], binary: bool = True) -> triton.InferInput:
    return triton.InferInput("images", [*stack.shape], "UINT8").set_data_from_numpy(stack, binary_data=binary)


def infer(server: triton.InferenceServerClient, tensor: triton.InferInput, **options: Any) -> Tensors:
    """Any: as Triton's client has it."""
    result = server.infer(MODEL, [tensor], **options)
    return {output["name"]: result.as_numpy(output["name"]).tolist() for output in result.get_response()["outputs"]}


def predict(client: httpx.Client, content: bytes) -> Tensors:
    """What /predict says, in the shape of these tensors."""
    answer = client.post("/predict?heatmap=true", content=content).raise_for_status().json()
    return {
        "probabilities": [list(answer["probabilities"].values())],
        "heatmaps": [answer["heatmap"]["values"]],
        "novelty": [answer["novelty"]["value"]],
        "label": [answer["label"].encode()],
        "warnings": ["\n".join(answer["warnings"]).encode()],
    }


def body(*contents: bytes, **changes: object) -> dict[str, object]:
    """In JSON alone. `changes`: to the input."""
    data = [base64.b64encode(content).decode() for content in contents]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(contents)], "data": data} | changes]}


def in_binary(header: object, rest: bytes, length: object = None) -> tuple[bytes, dict[str, str]]:
    content = json.dumps(header).encode()
    return content + rest, {"inference-header-content-length": str(len(content) if length is None else length)}


# What it answers


@pytest.mark.parametrize("content", [PNG, encode(PIXELS, "JPEG"), dicom_of(PIXELS)], ids=["PNG", "JPEG", "DICOM"])
def test_it_gives_the_bits_of_predict(client: httpx.Client, server: triton.InferenceServerClient, content: bytes) -> None:
    assert infer(server, encoded(content)) == predict(client, content)


def test_base64_in_json_gives_the_same(client: httpx.Client, server: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=False) for name in OUTPUTS]
    tensors = infer(server, encoded(base64.b64encode(PNG).decode(), binary=False), outputs=wanted)
    texts = {name: [text.encode() for text in tensors[name]] for name in ("label", "warnings")}
    assert tensors | texts == predict(client, PNG)
    flat = {output["name"]: output["data"] for output in client.post(INFER, json=body(PNG)).json()["outputs"]}
    assert flat["heatmaps"] == np.ravel(tensors["heatmaps"]).tolist()


@pytest.mark.parametrize("size", [(260, 300), (1000, 950)], ids=["as it is", "shrunk"])
def test_grey_pixels_give_the_bits_of_a_png_of_them(
    client: httpx.Client, server: triton.InferenceServerClient, size: tuple[int, int]
) -> None:
    picture = grey(*size)
    assert infer(server, pixels(picture[None])) == predict(client, encode(picture))


def test_grey_levels_in_json_are_flat_or_nested(client: httpx.Client, server: triton.InferenceServerClient) -> None:
    stack = np.stack([grey(40, 50), grey(40, 50, seed=1)])
    expected = infer(server, pixels(stack))
    assert infer(server, pixels(stack, binary=False)) == expected
    nested = client.post(INFER, json=body(datatype="UINT8", shape=stack.shape, data=stack.tolist())).json()
    assert nested["outputs"][0]["data"] == np.ravel(expected["probabilities"]).tolist()


def test_several_images_are_answered_in_order_and_as_alone(client: httpx.Client, server: triton.InferenceServerClient) -> None:
    contents = [encode(grey(200 + 10 * index, 260, seed=index)) for index in range(16)]
    alone = [predict(client, content) for content in contents]
    assert infer(server, encoded(*contents)) == {name: [row for one in alone for row in one[name]] for name in OUTPUTS}


def test_only_the_outputs_asked_for_come_each_as_wanted(server: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("novelty", binary_data=False), triton.InferRequestedOutput("label")]
    outputs = server.infer(MODEL, [encoded(PNG)], outputs=wanted).get_response()["outputs"]
    assert [(output["name"], "data" in output, "parameters" in output) for output in outputs] == [
        ("novelty", True, False),
        ("label", False, True),
    ]


def test_an_outputs_own_wish_goes_before_the_requests(client: httpx.Client) -> None:
    outputs = [{"name": "label"}, {"name": "novelty", "parameters": {"binary_data": False}}]
    asked = body(PNG) | {"outputs": outputs, "parameters": {"binary_data_output": True}}
    answer = client.post(INFER, json=asked)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    label, novelty = json.loads(answer.content[:length])["outputs"]
    assert label["parameters"] == {"binary_data_size": len(answer.content) - length}
    assert "data" in novelty


def test_the_answer_says_who_gave_it_and_that_it_is_no_device(server: triton.InferenceServerClient) -> None:
    answer = server.infer(MODEL, [encoded(PNG)], request_id="one of mine").get_response()
    assert answer["id"] == "one of mine"
    assert answer["model_name"] == MODEL
    assert answer["model_version"] == server.get_model_metadata(MODEL)["versions"][0]
    assert "Not a medical device" in answer["parameters"]["disclaimer"]
    assert "id" not in server.infer(MODEL, [encoded(PNG)]).get_response()


def test_metadata_says_what_comes(server: triton.InferenceServerClient) -> None:
    assert server.get_server_metadata() == {"name": "medxfer", "version": VERSION, "extensions": ["binary_tensor_data"]}
    metadata = server.get_model_metadata(MODEL)
    assert metadata["name"] == MODEL
    assert metadata["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    answered = server.infer(MODEL, [encoded(PNG)]).get_response()["outputs"]
    for said, found in zip(metadata["outputs"], answered, strict=True):
        assert (said["name"], said["datatype"], said["shape"][1:]) == (found["name"], found["datatype"], found["shape"][1:])


def test_the_version_is_the_start_of_the_graphs_hash(client: httpx.Client, server: triton.InferenceServerClient) -> None:
    [version] = server.get_model_metadata(MODEL)["versions"]
    assert client.get("/model-info").json()["running"]["sha256"].startswith(version)
    assert server.get_model_metadata(MODEL, version) == server.get_model_metadata(MODEL)
    assert infer(server, encoded(PNG), model_version=version) == infer(server, encoded(PNG))
    assert server.is_model_ready(MODEL, version)
    with pytest.raises(InferenceServerException, match=f"its version «{version}»"):
        infer(server, encoded(PNG), model_version="1")


def test_readiness(client: httpx.Client, server: triton.InferenceServerClient) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(MODEL)
    assert not server.is_model_ready("another")
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get(f"/v2/models/{MODEL}/ready").json() == {"name": MODEL, "ready": True}


# What it refuses


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"\[415\] images\[1\]: the image is empty"),
        (b"text", r"\[415\] images\[1\]: .* neither JPEG nor PNG nor DICOM"),
        (PNG[:-100], r"\[422\] images\[1\]: the image is damaged"),
        (encode(grey(20, 20)), r"\[422\] images\[1\]: the image is 20 × 20 px"),
    ],
    ids=["empty", "text", "truncated", "tiny"],
)
def test_one_bad_image_fails_its_request_and_is_named(server: triton.InferenceServerClient, content: bytes, words: str) -> None:
    with pytest.raises(InferenceServerException, match=words):
        infer(server, encoded(PNG, content, PNG))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 20, 20), "20 × 20 px"), ((1, 33, 500), "4 times"), ((1, 40, 8193), "8193 × 40")],
    ids=["tiny", "thin", "wide"],
)
def test_pixels_have_the_limits_of_images(server: triton.InferenceServerClient, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InferenceServerException, match=rf"\[422\] .*{words}"):
        infer(server, pixels(np.zeros(shape, np.uint8)))


def test_a_request_has_no_more_images_than_a_batch(server: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[400\] the shape is of 17 images; a request may have 1 to 16"):
        infer(server, encoded(*[PNG] * 17))


BINARY = {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}
ELEMENT = b"\x01\0\0\0x"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (body(PNG) | {"inputs": []}, "`$.inputs`"),
        (body(PNG, name="other"), "`$.inputs[0].name`"),
        (body(PNG, datatype="FP32"), "`$.inputs[0].datatype`"),
        (body(PNG, shape=[2]), "data has 1 elements; its shape needs 2"),
        (body(PNG, shape=[1, 1]), "the shape of BYTES, [N]"),
        (body(PNG, shape=[-1]), "the shape of BYTES, [N]: Expected `int` >= 0"),
        (body(PNG, shape=[10**30]), "images; a request may have 1 to 16"),
        (body(PNG, data=["%%%"]), "data: Invalid base64"),
        (body(PNG, data=None), "data: Expected `array`, got `null`"),
        (body(shape=[0]), "0 images"),
        (body(datatype="UINT8", shape=[1, 40], data=[]), "the shape of UINT8, [N, height, width]"),
        (body(datatype="UINT8", shape=[1, 40, 40], data=[256] * 1600), "data: Expected `int` <= 255"),
        (body(PNG) | {"outputs": [{"name": "logits"}]}, "`$.outputs[0].name`"),
        (body(PNG) | {"id": "x" * 257}, "`$.id`"),
        (body(PNG) | {"parameters": {"binary_data_output": "yes"}}, "`$.parameters.binary_data_output`"),
        (BINARY, "binary_data_size is 5; 0 bytes follow the JSON (Inference-Header-Content-Length)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_request_is_told_what_is_wrong(client: httpx.Client, asked: object, words: str) -> None:
    assert_problem(client.post(INFER, json=asked), 400, words)


@pytest.mark.parametrize(
    ("length", "rest", "words"),
    [
        (10**9, ELEMENT, "Inference-Header-Content-Length is 1,000,000,000; the body has"),
        (-1, ELEMENT, "inference-header-content-length is '-1'"),
        ("x", ELEMENT, "inference-header-content-length is 'x'"),
        (0, ELEMENT, "the JSON: Input data was truncated"),
        (9, ELEMENT, "the JSON"),
        (None, ELEMENT + b"x", "binary_data_size is 5; 6 bytes follow the JSON"),
        (None, b"\xff\xff\xff\xffx", "images[0] ends at byte 4,294,967,299 of the tensor, which has 5"),
        (None, b"\0\0\0\0x", "the tensor has 5 bytes; the 1 images of its shape take 4"),
    ],
)
def test_lengths_that_are_not_true_are_named(client: httpx.Client, length: object, rest: bytes, words: str) -> None:
    content, headers = in_binary(BINARY, rest, length)
    assert_problem(client.post(INFER, content=content, headers=headers), 400, words)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"NaN", b'{"inputs":' * 100_000, b"\xff\xfe", PNG])
def test_what_is_no_request_is_the_clients_business(client: httpx.Client, content: bytes) -> None:
    assert_problem(client.post(INFER, content=content), 400, "the JSON: ")


def test_its_problems_say_their_detail_as_error_and_others_do_not(client: httpx.Client) -> None:
    for path in ("/v2/nowhere", "/v2/models/another/infer", INFER):
        problem = client.post(path, content=b"x").json()
        assert problem["error"] == problem["detail"]
    assert "error" not in client.post("/predict", content=b"x").json()


def test_a_compressed_request_is_refused_in_words(server: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[415\] Content-Encoding is 'gzip'"):
        infer(server, encoded(PNG), request_compression_algorithm="gzip")


def test_the_token_guards_all_but_health() -> None:
    with running_service(token="s3cret-token") as client, connected(client) as server:
        assert server.is_server_ready()
        assert server.is_server_live()
        assert server.is_model_ready(MODEL)
        bearing = {"authorization": "Bearer s3cret-token"}
        for ask in (
            partial(server.infer, MODEL, [encoded(PNG)]),
            partial(server.get_model_metadata, MODEL),
            server.get_server_metadata,
        ):
            with pytest.raises(InferenceServerException, match=r"\[401\] .*Bearer"):
                ask()
            assert ask(headers=bearing)


def test_a_full_service_says_so_before_it_reads_and_as_error() -> None:
    with running_service(queue_limit=1, lanes=1) as client, ThreadPoolExecutor() as threads:
        first = threads.submit(httpx.post, f"{client.base_url}/predict", content=SLOW, trust_env=False)
        while not metric(client, "medxfer_in_flight_images"):
            assert not first.done()
        answer = client.post(INFER, content=b"not even read")
        assert_problem(answer, 429, "images in work: 1")
        assert answer.json()["error"] == answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert first.result().status_code == 200


def test_a_request_that_fails_gives_its_places_back() -> None:
    with running_service(queue_limit=3, lanes=1) as client:
        assert client.post(INFER, json=body(b"no image", SLOW, PNG)).status_code == 415
        while metric(client, "medxfer_in_flight_images"):
            pass
        assert client.post(INFER, json=body(PNG, PNG, PNG)).status_code == 200


def test_a_deadline_is_kept(client: httpx.Client) -> None:
    answer = client.post(INFER, json=body(SLOW), headers={"x-request-timeout-ms": "50"})
    assert answer.status_code in (408, 504)
    assert "after 50 ms" in answer.json()["error"]


def test_metrics_count_by_address_and_not_by_what_clients_call_a_model(client: httpx.Client) -> None:
    answered = f'medxfer_requests_total{{outcome="answered",route="{INFER}"}}'
    unknown = 'medxfer_requests_total{outcome="refused",route="/v2/models/{rest}"}'
    before = [metric(client, answered), metric(client, unknown)]
    client.post(INFER, json=body(PNG))
    for number in range(3):
        assert client.post(f"/v2/models/model-{number}/infer", json=body(PNG)).status_code == 404
    assert [metric(client, answered), metric(client, unknown)] == [before[0] + 1, before[1] + 3]
    assert "model-1" not in client.get("/metrics").text

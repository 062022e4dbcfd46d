"""The Open Inference Protocol, as Triton's own client speaks it with the real service."""

import json
from typing import Any, TypeAlias

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service.http.status import VERSION
from tests.conftest import dicom_of, encode, grey
from tests.service.http.helpers import INFER, MODEL, PIXELS, PNG, assert_problem, infer_body, metric

Server: TypeAlias = triton.InferenceServerClient
Tensors = dict[str, list[Any]]  # Any: numbers, nested or not, or bytes


@pytest.fixture(scope="module")
def server(client: httpx.Client) -> Server:
    return triton.InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}")


def encoded(*contents: bytes) -> triton.InferInput:
    return triton.InferInput("images", [len(contents)], "BYTES").set_data_from_numpy(np.array(contents, dtype=object))


def pixels(stack: npt.NDArray[np.uint8], binary: bool = True) -> triton.InferInput:
    return triton.InferInput("images", [*stack.shape], "UINT8").set_data_from_numpy(stack, binary_data=binary)


def infer(server: Server, tensor: triton.InferInput, **options: Any) -> Tensors:  # Any: as Triton has it
    result = server.infer(MODEL, [tensor], **options)
    return {output["name"]: result.as_numpy(output["name"]).tolist() for output in result.get_response()["outputs"]}


def predict(client: httpx.Client, content: bytes) -> Tensors:
    answer = client.post("/predict?heatmap=true", content=content).raise_for_status().json()
    return {
        "probabilities": [list(answer["probabilities"].values())],
        "heatmaps": [answer["heatmap"]["values"]],
        "novelty": [answer["novelty"]["value"]],
        "label": [answer["label"].encode()],
        "warnings": ["\n".join(answer["warnings"]).encode()],
        "abstain": [answer["abstain"]],
        "reasons": ["\n".join(answer["reasons"]).encode()],
    }


def test_it_gives_the_bits_of_predict_for_each_image_in_order(client: httpx.Client, server: Server) -> None:
    contents = [PNG, encode(PIXELS, "JPEG"), dicom_of(PIXELS), *(encode(grey(200, 260, seed=seed)) for seed in range(3))]
    alone = [predict(client, content) for content in contents]
    assert [infer(server, encoded(content)) for content in contents[:3]] == alone[:3]
    assert infer(server, encoded(*contents)) == {name: [row for one in alone for row in one[name]] for name in alone[0]}


def test_base64_in_json_gives_the_same(client: httpx.Client) -> None:
    outputs = client.post(INFER, json=infer_body(PNG)).json()["outputs"]
    expected = {name: np.ravel(rows).tolist() for name, rows in predict(client, PNG).items()}
    expected |= {name: [expected[name][0].decode()] for name in ("label", "warnings", "reasons")}
    assert {output["name"]: output["data"] for output in outputs} == expected


def test_grey_pixels_give_the_bits_of_a_png_of_them(client: httpx.Client, server: Server) -> None:
    for picture in (PIXELS, grey(1000, 950)):  # as it is, and shrunk
        assert infer(server, pixels(picture[None])) == predict(client, encode(picture))


def test_grey_levels_in_json_are_flat_or_nested(client: httpx.Client, server: Server) -> None:
    stack = np.stack([grey(40, 50), grey(40, 50, seed=1)])
    expected = infer(server, pixels(stack))
    assert infer(server, pixels(stack, binary=False)) == expected
    nested = client.post(INFER, json=infer_body(datatype="UINT8", shape=stack.shape, data=stack.tolist())).json()
    assert nested["outputs"][0]["data"] == np.ravel(expected["probabilities"]).tolist()


def test_only_requested_outputs_come_each_as_json_or_bytes(server: Server) -> None:
    requested = [triton.InferRequestedOutput("novelty", binary_data=False), triton.InferRequestedOutput("label")]
    novelty, label = server.infer(MODEL, [encoded(PNG)], outputs=requested).get_response()["outputs"]
    assert (novelty["name"], label["name"]) == ("novelty", "label")
    assert ("data" in novelty, "parameters" in novelty, "data" in label, "parameters" in label) == (True, False, False, True)


def test_an_output_overrides_the_request_about_bytes(client: httpx.Client) -> None:
    outputs = [{"name": "label"}, {"name": "novelty", "parameters": {"binary_data": False}}]
    answer = client.post(INFER, json=infer_body(PNG) | {"outputs": outputs, "parameters": {"binary_data_output": True}})
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    label, novelty = json.loads(answer.content[:length])["outputs"]
    assert label["parameters"] == {"binary_data_size": len(answer.content) - length}
    assert "data" in novelty


def test_an_answer_names_its_request_its_model_and_the_disclaimer(server: Server) -> None:
    answer = server.infer(MODEL, [encoded(PNG)], request_id="one of mine").get_response()
    [version] = server.get_model_metadata(MODEL)["versions"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("one of mine", MODEL, version)
    assert "Not a medical device" in answer["parameters"]["disclaimer"]
    assert "id" not in server.infer(MODEL, [encoded(PNG)]).get_response()


def test_metadata_describes_the_tensors(server: Server) -> None:
    assert server.get_server_metadata() == {"name": "medxfer", "version": VERSION, "extensions": ["binary_tensor_data"]}
    metadata = server.get_model_metadata(MODEL)
    inputs = [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    assert (metadata["name"], metadata["inputs"]) == (MODEL, inputs)
    answered = server.infer(MODEL, [encoded(PNG)]).get_response()["outputs"]
    expected = [{"name": out["name"], "datatype": out["datatype"], "shape": [-1, *out["shape"][1:]]} for out in answered]
    assert metadata["outputs"] == expected


def test_the_version_is_the_start_of_the_graphs_hash(client: httpx.Client, server: Server) -> None:
    [version] = server.get_model_metadata(MODEL)["versions"]
    assert client.get("/model-info").json()["running"]["sha256"].startswith(version)
    assert server.get_model_metadata(MODEL, version) == server.get_model_metadata(MODEL)
    assert infer(server, encoded(PNG), model_version=version) == infer(server, encoded(PNG))
    assert server.is_model_ready(MODEL, version)
    with pytest.raises(InferenceServerException, match=f"its version «{version}»"):
        infer(server, encoded(PNG), model_version="1")


BAD_IMAGES = {
    r"\[415\] images\[1\]: .* neither JPEG nor PNG nor DICOM": encoded(PNG, b"text", PNG),
    r"\[422\] images\[1\]: the image is damaged": encoded(PNG, PNG[:-100], PNG),
    r"\[422\] .*20 × 20 px": pixels(np.zeros((1, 20, 20), np.uint8)),
    r"\[422\] .*4 times": pixels(np.zeros((1, 33, 500), np.uint8)),
    r"\[422\] .*8193 × 40": pixels(np.zeros((1, 40, 8193), np.uint8)),
}


@pytest.mark.parametrize("words", BAD_IMAGES)
def test_a_bad_image_fails_its_request_and_is_named(server: Server, words: str) -> None:
    with pytest.raises(InferenceServerException, match=words):
        infer(server, BAD_IMAGES[words])


BINARY = {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (infer_body(PNG) | {"inputs": []}, "`$.inputs`"),
        (infer_body(PNG, name="other"), "`$.inputs[0].name`"),
        (infer_body(PNG, shape=[2]), "data has 1 elements; its shape needs 2"),
        (infer_body(PNG, shape=[1, 1]), "the shape of BYTES, [N]"),
        (infer_body(PNG, shape=[10**30]), "images; a request may have 1 to 16"),
        (infer_body(PNG, data=[]), "data has 0 elements; its shape needs 1"),
        (infer_body(PNG, data=["%%%"]), "data: Invalid base64"),
        (infer_body(PNG, data=None), "data: Expected `array`, got `null`"),
        (infer_body(shape=[0]), "0 images"),
        (infer_body(datatype="UINT8", shape=[1, 40], data=[]), "the shape of UINT8, [N, height, width]"),
        (infer_body(PNG) | {"outputs": [{"name": "logits"}]}, "`$.outputs[0].name`"),
        (infer_body(PNG) | {"id": "x" * 257}, "`$.id`"),
        (infer_body(PNG) | {"parameters": {"binary_data_output": "yes"}}, "`$.parameters.binary_data_output`"),
        (BINARY, "binary_data_size is 5; 0 bytes follow the JSON (Inference-Header-Content-Length)"),
        *((content, "the JSON: ") for content in (b"{", b"[]", b"NaN", b'{"inputs":' * 100_000, b"\xff\xfe")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_request_names_its_fault(client: httpx.Client, content: object, words: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert_problem(client.post(INFER, content=body), 400, words)


def test_a_wrong_length_of_the_json_is_named(client: httpx.Client) -> None:
    answer = client.post(INFER, json=BINARY, headers={"inference-header-content-length": "x"})
    assert_problem(answer, 400, "inference-header-content-length is 'x'")


def test_metrics_count_by_address_and_never_by_a_clients_name_for_a_model(client: httpx.Client) -> None:
    counted = f'outcome="answered",route="{INFER}"', 'outcome="refused",route="/v2/models/{rest}"'
    before = [metric(client, f"medxfer_requests_total{{{labels}}}") for labels in counted]
    client.post(INFER, json=infer_body(PNG))
    for number in range(3):
        assert client.post(f"/v2/models/model-{number}/infer", json=infer_body(PNG)).status_code == 404
    after = [metric(client, f"medxfer_requests_total{{{labels}}}") for labels in counted]
    assert after == [before[0] + 1, before[1] + 3]
    assert "model-1" not in client.get("/metrics").text

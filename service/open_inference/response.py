"""What a client of the Open Inference Protocol is answered: metadata, and tensors in JSON or as bytes behind it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from service.http.schemas import DISCLAIMER, Prediction
from service.model.artefact import Artefact
from service.open_inference.request import Asked, OutputName

FP32, BYTES = "FP32", "BYTES"
ANY = -1  # of a shape

_VALUES: dict[OutputName, tuple[str, Callable[[Prediction], Any]]] = {  # Any: numbers, nested or not, or a text
    "probabilities": (FP32, lambda prediction: list(prediction.probabilities.values())),
    "heatmaps": (FP32, lambda prediction: prediction.heatmap and prediction.heatmap.values),
    "novelty": (FP32, lambda prediction: prediction.novelty.value),
    # Not the graph's: no tensor says which column is whose, and what may make an answer worthless must not be lost here.
    "label": (BYTES, lambda prediction: prediction.label),
    "warnings": (BYTES, lambda prediction: "\n".join(prediction.warnings)),
}


class ServerMetadata(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Struct, frozen=True, kw_only=True):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct, frozen=True, kw_only=True):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputParameters(Struct, frozen=True, kw_only=True):
    binary_data_size: int


class OutputTensor(Struct, frozen=True, kw_only=True):
    """`data`: flat, row by row. Instead of it, `binary_data_size` bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[float | str] | UnsetType = UNSET


class InferenceResponse(Struct, frozen=True, kw_only=True):
    model_name: str
    model_version: str
    id: str | UnsetType = UNSET
    parameters: dict[str, str]
    outputs: list[OutputTensor]


class Answer(NamedTuple):
    """`header_length`: of the JSON, in bytes; None where nothing follows it."""

    body: bytes
    header_length: int | None


def version(artefact: Artefact) -> str:
    """The start of the graph's hash: who asks for it is answered by this very model, or not at all."""
    return artefact.sha256[:12]


def server_metadata(program_version: str) -> ServerMetadata:
    return ServerMetadata(name="medxfer", version=program_version, extensions=["binary_tensor_data"])


def model_metadata(artefact: Artefact) -> ModelMetadata:
    rows: dict[str, list[int]] = {"probabilities": [2], "heatmaps": [*artefact.description.heatmap.grid]}
    return ModelMetadata(
        name=artefact.description.name,
        versions=[version(artefact)],
        platform="onnxruntime_onnx",
        inputs=[TensorMetadata(name="images", datatype=BYTES, shape=[ANY])],
        outputs=[
            TensorMetadata(name=name, datatype=datatype, shape=[ANY, *rows.get(name, [])])
            for name, (datatype, _) in _VALUES.items()
        ],
    )


def write(artefact: Artefact, asked: Asked, predictions: Sequence[Prediction]) -> Answer:
    tensors, contents = zip(*(_tensor(name, predictions, as_bytes) for name, as_bytes in asked.outputs.items()), strict=True)
    response = InferenceResponse(
        model_name=artefact.description.name,
        model_version=version(artefact),
        id=UNSET if asked.id is None else asked.id,
        parameters={"disclaimer": DISCLAIMER},
        outputs=list(tensors),
    )
    header = msgspec.json.encode(response)
    return Answer(header + b"".join(contents), len(header) if any(asked.outputs.values()) else None)


def _tensor(name: OutputName, predictions: Sequence[Prediction], as_bytes: bool) -> tuple[OutputTensor, bytes]:
    """And the bytes that follow the JSON for it."""
    datatype, value = _VALUES[name]
    values = [value(prediction) for prediction in predictions]
    array = np.asarray(values, "<f4" if datatype == FP32 else object)
    if not as_bytes:
        return OutputTensor(name=name, datatype=datatype, shape=list(array.shape), data=array.ravel().tolist()), b""
    content = array.tobytes() if datatype == FP32 else b"".join(map(_element, values))
    parameters = OutputParameters(binary_data_size=len(content))
    return OutputTensor(name=name, datatype=datatype, shape=list(array.shape), parameters=parameters), content


def _element(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(4, "little") + content

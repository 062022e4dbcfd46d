"""Answers of the Open Inference Protocol: metadata, and tensors as JSON or as bytes after it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from service.http.status import VERSION
from service.model.artefact import Artefact
from service.model.prediction import DISCLAIMER, Prediction
from service.open_inference.request import InferenceRequest, OutputName

FP32, BOOL, BYTES = "FP32", "BOOL", "BYTES"
DTYPES = {FP32: "<f4", BOOL: "?"}  # of tensors that are no texts
ANY = -1  # a dimension of any size

_VALUES: dict[OutputName, tuple[str, Callable[[Prediction], Any]]] = {  # Any: numbers, nested or not, or a text
    "probabilities": (FP32, lambda prediction: list(prediction.probabilities.values())),
    "heatmaps": (FP32, lambda prediction: prediction.heatmap.values),
    "novelty": (FP32, lambda prediction: prediction.novelty.value),
    # The graph has no such outputs, but without them a client could not tell the columns apart, nor see the warnings.
    "label": (BYTES, lambda prediction: prediction.label),
    "warnings": (BYTES, lambda prediction: "\n".join(prediction.warnings)),
    "abstain": (BOOL, lambda prediction: prediction.abstain),
    "reasons": (BYTES, lambda prediction: "\n".join(prediction.reasons)),
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
    """`data` is flat, row by row. If it is missing, `binary_data_size` bytes after the JSON hold it."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[float | bool | str] | UnsetType = UNSET


class InferenceResponse(Struct, frozen=True, kw_only=True):
    model_name: str
    model_version: str
    id: str | UnsetType = UNSET
    parameters: dict[str, str]
    outputs: list[OutputTensor]


SERVER = ServerMetadata(name="medxfer", version=VERSION, extensions=["binary_tensor_data"])


def version_of(artefact: Artefact) -> str:
    """The start of the graph's hash, so that a client which names a version gets the answers of this very model, or none."""
    return artefact.sha256[:12]


def model_metadata(artefact: Artefact) -> ModelMetadata:
    rows: dict[str, list[int]] = {"probabilities": [2], "heatmaps": [*artefact.description.heatmap.grid]}
    return ModelMetadata(
        name=artefact.description.name,
        versions=[version_of(artefact)],
        platform="onnxruntime_onnx",
        inputs=[TensorMetadata(name="images", datatype=BYTES, shape=[ANY])],
        outputs=[
            TensorMetadata(name=name, datatype=datatype, shape=[ANY, *rows.get(name, [])])
            for name, (datatype, _) in _VALUES.items()
        ],
    )


def encode(artefact: Artefact, request: InferenceRequest, predictions: Sequence[Prediction]) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON, or None if nothing follows the JSON."""
    tensors, contents = zip(*(_tensor(name, predictions, as_bytes) for name, as_bytes in request.outputs.items()), strict=True)
    response = InferenceResponse(
        model_name=artefact.description.name,
        model_version=version_of(artefact),
        id=UNSET if request.id is None else request.id,
        parameters={"disclaimer": DISCLAIMER},
        outputs=list(tensors),
    )
    header = msgspec.json.encode(response)
    return header + b"".join(contents), len(header) if any(request.outputs.values()) else None


def _tensor(name: OutputName, predictions: Sequence[Prediction], as_bytes: bool) -> tuple[OutputTensor, bytes]:
    """The tensor as JSON, and the bytes that follow the JSON for it."""
    datatype, value = _VALUES[name]
    values = [value(prediction) for prediction in predictions]
    array = np.asarray(values, DTYPES.get(datatype, object))
    if not as_bytes:
        return OutputTensor(name=name, datatype=datatype, shape=list(array.shape), data=array.ravel().tolist()), b""
    content = array.tobytes() if datatype in DTYPES else b"".join(map(_element, values))
    parameters = OutputParameters(binary_data_size=len(content))
    return OutputTensor(name=name, datatype=datatype, shape=list(array.shape), parameters=parameters), content


def _element(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(4, "little") + content

"""The model folder from training's side: written whole or not at all, and measured through the service's own classes."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from service.model.artefact import DESCRIPTION as DESCRIPTION_FILE
from service.model.artefact import Description, read_artefact, write_sums
from service.model.classifier import Classifier, GreyImage, Outputs, self_test_image
from training.config import CPUS
from training.data import manifest
from training.data.manifest import Record
from training.progress import track

FP32, INT8 = "fp32", "int8"  # variants
GRAPH_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
# Of the self-test. Differences of a few float32 roundings, as between CPUs, move the int8 variant's probability by up to 0.003.
TOLERANCE = {FP32: 0.001, INT8: 0.01}
BATCH = 16
OF_THE_NETWORK = ("fit", "anatomy")  # of model.json's `metrics`: what a calibration does not change

T = TypeVar("T")
R = TypeVar("R")


def load(folder: Path, variant: str = FP32) -> Classifier:
    """Raises ArtefactError, as the service would. What a kill left between two renames is put back first."""
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    return Classifier(read_artefact(folder, variant))


def classify(classifier: Classifier, folder: Path, records: Sequence[Record]) -> Outputs:
    """Images of a data folder, decoded and classified just as they are served."""

    def answer(batch: Sequence[Record]) -> Outputs:
        return classifier.classify([manifest.read_image(folder, record) for record in batch])

    return _joined(_concurrently(answer, records, "classify"))


def classify_images(classifier: Classifier, images: Sequence[GreyImage]) -> Outputs:
    return _joined(_concurrently(classifier.classify, images, "classify"))


def pooled(model: onnx.ModelProto, folder: Path, records: Sequence[Record]) -> npt.NDArray[np.float32]:
    """The outputs [N, C] of `graph.pooling`."""
    session = session_of(model)

    def answer(batch: Sequence[Record]) -> npt.NDArray[np.float32]:
        [output] = session.run(None, {"images": [manifest.read_image(folder, record) for record in batch]})
        return np.asarray(output)

    return np.concatenate(_concurrently(answer, records, "features"))


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """On one thread, so that several can run at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def of_the_network(description: Description) -> dict[str, Any]:
    """What of the `metrics` does not depend on variants and calibration."""
    return {name: description.metrics[name] for name in OF_THE_NETWORK if name in description.metrics}


def _concurrently(answer: Callable[[Sequence[T]], R], items: Sequence[T], what: str) -> list[R]:
    """In batches on as many threads as there are CPUs; each call computes on its own."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(CPUS) as pool:
        futures = [pool.submit(answer, batch) for batch in batches]
        try:
            return [future.result() for future in track(futures, what)]
        except BaseException:  # Ctrl-C, too, need not wait for what has not begun
            pool.shutdown(cancel_futures=True)
            raise


def _joined(parts: Sequence[Outputs]) -> Outputs:
    return Outputs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def write(folder: Path, models: Mapping[str, onnx.ModelProto], description: Description) -> None:
    """Write graphs (by variant), description and sums beside `folder`, let each variant set its own self-test, then put all in
    place."""
    aside = beside(folder)
    aside.mkdir(parents=True)
    for name, model in models.items():
        (aside / description.variants[name].file).write_bytes(model.SerializeToString(deterministic=True))
    _write_description(aside, description)
    test = description.self_test
    image = self_test_image(test.height, test.width)
    positive = description.labels.index(description.positive)
    expected = {name: float(load(aside, name).classify([image]).probabilities[0, positive]) for name in models}
    test = msgspec.structs.replace(test, probability=expected, tolerance={name: TOLERANCE[name] for name in models})
    _write_description(aside, msgspec.structs.replace(description, self_test=test))
    put_in_place(aside, folder)


def rewrite_description(folder: Path, description: Description) -> None:
    """Change `model.json` alone; the graph stays as it is."""
    aside = beside(folder)
    shutil.copytree(folder, aside)
    _write_description(aside, description)
    put_in_place(aside, folder)


def put_in_place(aside: Path, folder: Path) -> None:
    """Two renames: a kill between them leaves the whole new folder and the whole old one beside it, under hidden names."""
    for path in aside.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    old = _old(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def beside(folder: Path) -> Path:
    """Where to write what is to become `folder`; nothing is there."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _write_description(folder: Path, description: Description) -> None:
    content = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (folder / DESCRIPTION_FILE).write_bytes(content + b"\n")
    write_sums(folder, [DESCRIPTION_FILE, *(variant.file for variant in description.variants.values())])

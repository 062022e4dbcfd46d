"""Runs an exported graph over many images, on all CPUs, through the service's own decoder and classifier."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from service.model.artefact import Description
from service.model.classifier import Classifier, GreyImage, Outputs, session_options
from training.config import CPUS
from training.data import manifest
from training.data.alterations import Alteration
from training.data.manifest import Record
from training.graph import assembly, surgery
from training.progress import track

BATCH = 16

T = TypeVar("T")
R = TypeVar("R")


class Predictions(NamedTuple):
    """Predictions for N images of a data folder. `truth`: whether the image has the positive label. `probability`: the
    predicted probability of the positive label."""

    records: list[Record]
    truth: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]
    novelty: npt.NDArray[np.float64]

    def select(self, index: Sequence[int]) -> "Predictions":
        return Predictions([self.records[i] for i in index], self.truth[index], self.probability[index], self.novelty[index])

    @property
    def patients(self) -> list[str]:
        return [record.patient for record in self.records]


def predict(
    classifier: Classifier, folder: Path, records: Sequence[Record], changes: Sequence[Alteration] = (np.asarray,)
) -> Predictions:
    """Decodes and classifies images of a data folder exactly as the service does, after one of `changes`, in turn."""
    outputs, description = classify(classifier, folder, records, changes), classifier.artefact.description
    probability = outputs.probabilities[:, description.labels.index(description.positive)].astype(np.float64)
    return Predictions(list(records), truth_of(records, description), probability, outputs.novelty.astype(np.float64))


def truth_of(records: Sequence[Record], description: Description) -> npt.NDArray[np.bool_]:
    """Bool [N]: whether each image has the positive label."""
    return np.array([record.label == description.positive for record in records])


def classify(
    classifier: Classifier, folder: Path, records: Sequence[Record], changes: Sequence[Alteration] = (np.asarray,)
) -> Outputs:
    """As `predict`, with all outputs of the graph."""

    def classify_batch(batch: Sequence[tuple[Record, Alteration]]) -> Outputs:
        return classifier.classify([change(manifest.read_image(folder, record)) for record, change in batch])

    return _join(_map_batches(classify_batch, list(zip(records, itertools.cycle(changes))), "classify"))


def classify_images(classifier: Classifier, images: Sequence[GreyImage]) -> Outputs:
    return _join(_map_batches(classifier.classify, images, "classify"))


def novelty_features(model: onnx.ModelProto, folder: Path, records: Sequence[Record]) -> npt.NDArray[np.float32]:
    """The features [N, C] from which the graph computes novelty; `assembly.whiten` is fitted on them."""
    session = session_of(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]))

    def features(batch: Sequence[Record]) -> npt.NDArray[np.float32]:
        images = [manifest.read_image(folder, record) for record in batch]
        [output] = session.run([assembly.NOVELTY_FEATURES], {"images": images})
        return np.asarray(output).reshape(len(batch), -1)

    return np.concatenate(_map_batches(features, records, "features"))


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on one thread, so that several can run at once."""
    return onnxruntime.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])


def _map_batches(function: Callable[[Sequence[T]], R], items: Sequence[T], what: str) -> list[R]:
    """Applies `function` to batches of `items`, on as many threads as there are CPUs; each call uses one CPU."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(CPUS) as pool:
        futures = [pool.submit(function, batch) for batch in batches]
        try:
            return [future.result() for future in track(futures, what)]
        except BaseException:  # also Ctrl-C: do not wait for batches that have not started
            pool.shutdown(cancel_futures=True)
            raise


def _join(parts: Sequence[Outputs]) -> Outputs:
    return Outputs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

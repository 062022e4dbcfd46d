"""Runs the exported graph on ONNX Runtime. Training evaluates through this class too: what is measured is what serves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from service import machine
from service.errors import ArtefactError
from service.model.artefact import Artefact

GreyImage = npt.NDArray[np.uint8]  # [height, width]
Floats = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """Outputs for N images, float32: `probabilities` [N, 2] in the order of the labels, `heatmaps` [N, h, w] in calibrated
    logits, `novelty` [N]. For one image, without their first dimension."""

    probabilities: Floats
    heatmaps: Floats
    novelty: Floats


class Classifier:
    """One session that any number of threads may call at once. Each call computes on its own thread alone."""

    def __init__(self, artefact: Artefact) -> None:
        """Raises ArtefactError if ONNX Runtime refuses the graph, or if its inputs and outputs are not ours."""
        try:
            self._session = onnxruntime.InferenceSession(artefact.graph, session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no public base for its errors
            file = artefact.folder / artefact.description.variants[artefact.variant].file
            raise ArtefactError(f"{file}: ONNX Runtime cannot load it: {error}") from error
        names = [value.name for value in (*self._session.get_inputs(), *self._session.get_outputs())]
        if names != ["images", *Outputs._fields]:
            raise ArtefactError(f"{artefact.folder}: the graph's inputs and outputs are {names}")
        self.artefact = artefact

    def classify(self, images: Sequence[GreyImage]) -> Outputs:
        """Classifies at least one image, uint8 [height, width]. Sizes may differ."""
        return Outputs(*self._session.run(None, {"images": list(images)}))

    def classify_each(self, images: Sequence[GreyImage]) -> list[Outputs]:
        return [Outputs(*rows) for rows in zip(*self.classify(images), strict=True)]

    def warm_up(self, max_batch_size: int) -> None:
        """Runs the smallest and the largest batch once, so that the first client does not wait for allocations. Raises
        ArtefactError if the graph does not run, or if its outputs do not have the shapes of `Outputs`."""
        description = self.artefact.description
        image = self_test_image(description.self_test.height, description.self_test.width)
        for size in {1, max_batch_size}:
            try:
                outputs = self.classify([image] * size)
            except Exception as error:  # as above
                raise ArtefactError(f"{self.artefact.folder}: the graph does not run: {error}") from error
            shapes = [output.shape for output in outputs]
            if shapes != [(size, 2), (size, *description.heatmap.grid), (size,)]:
                raise ArtefactError(f"{self.artefact.folder}: the graph answers {size} images by outputs of {shapes}")
            if not all(np.isfinite(output).all() for output in outputs):
                raise ArtefactError(f"{self.artefact.folder}: the graph computes numbers that are not finite")
            if not np.allclose(outputs.probabilities.sum(1), 1, atol=1e-5):
                raise ArtefactError(f"{self.artefact.folder}: the graph's probabilities do not add up to 1")

    def self_test(self) -> None:
        """Raises ArtefactError if the model does not compute here what it computed when it was exported."""
        test = self.artefact.description.self_test
        expected, tolerance = (values.get(self.artefact.variant) for values in (test.probability, test.tolerance))
        if expected is None or tolerance is None:
            raise ArtefactError(f"{self.artefact.folder}: self_test has no probability for «{self.artefact.variant}»")
        positive = self.artefact.description.labels.index(self.artefact.description.positive)
        found = float(self.classify([self_test_image(test.height, test.width)]).probabilities[0, positive])
        if not abs(found - expected) <= tolerance:  # «not», so that NaN fails
            difference = f"probability {found:.6f} instead of {expected:.6f} ± {tolerance}"
            raise ArtefactError(f"{self.artefact.folder}: self-test: {difference}")


SELF_TEST_FORMULA = "(255 - |255 - 4 y| % 256 + |255 - 3 x| % 256) // 2"


def session_options() -> onnxruntime.SessionOptions:
    """Options for a session that computes each call on one thread, and int8 exactly on every CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the lanes are the threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if machine.int8_instructions() is None:  # sums of 16 bits would saturate; where there is VNNI, this would halve the speed
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def self_test_image(height: int, width: int) -> GreyImage:
    """Two crossing triangle waves, uint8 [height, width]: SELF_TEST_FORMULA in integers, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    return np.asarray((255 - np.abs(255 - 4 * y) % 256 + np.abs(255 - 3 * x) % 256) // 2, dtype=np.uint8)

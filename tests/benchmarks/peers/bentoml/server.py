"""BentoML with the same ONNX file, int8 if the model has it.

It runs one worker process per CPU, as advised for CPU work
(https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html), each with one ONNX Runtime thread. Adaptive
batching makes batches of up to eight (https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html). BentoML opens the
images. Its access log is switched off."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from tests.benchmarks.peers.common import CPUS, PORT, answer, session

MAX_BATCH_SIZE, MAX_LATENCY_MS = 8, 10_000


@bentoml.service(workers=CPUS, logging={"access": {"enabled": False}})
class Classifier:
    def __init__(self) -> None:
        self.session = session(threads=1)

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS)
    def predict(self, image: list[Image]) -> list[dict[str, Any]]:
        greys = [np.asarray(each.convert("L")) for each in image]
        return [answer(row) for row in self.session.run(["probabilities"], {"images": greys})[0]]


if __name__ == "__main__":
    program = Path(sys.executable).with_name("bentoml")
    command = [str(program), "serve", "server:Classifier", "--host", "127.0.0.1", "--port", str(PORT)]
    os.execve(program, command, {**os.environ, "BENTOML_DO_NOT_TRACK": "True"})

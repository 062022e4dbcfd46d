"""BentoML with the same ONNX file, int8 if the model has it.

It runs one worker process per CPU, as advised for CPU work
(https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html), each with one ONNX Runtime thread. Adaptive
batching makes batches of up to eight (https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html). BentoML opens the
images. Its access log is switched off.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import onnxruntime
from PIL.Image import Image

MAX_BATCH_SIZE, MAX_LATENCY_MS = 8, 10_000


@bentoml.service(workers=int(os.environ["PEER_CPUS"]), logging={"access": {"enabled": False}})
class Classifier:
    def __init__(self) -> None:
        folder = Path(os.environ["PEER_MODEL"])
        description = json.loads((folder / "model.json").read_text())
        self.labels, self.positive = description["labels"], description["labels"].index(description["positive"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder / description["variants"][os.environ["PEER_VARIANT"]]["file"], options
        )

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS)
    def predict(self, image: list[Image]) -> list[dict[str, Any]]:
        greys = [np.asarray(each.convert("L")) for each in image]
        [rows] = self.session.run(["probabilities"], {"images": greys})
        return [{"label": self.labels[int(row.argmax())], "probability": float(row[self.positive])} for row in rows]


if __name__ == "__main__":
    program = Path(sys.executable).with_name("bentoml")
    address = ["--host", "127.0.0.1", "--port", os.environ["PEER_PORT"]]
    os.execve(program, [str(program), "serve", "server:Classifier", *address], {**os.environ, "BENTOML_DO_NOT_TRACK": "True"})

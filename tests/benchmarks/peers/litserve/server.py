"""LitServe with the same ONNX file, int8 where the model has it.

A worker process for each CPU, with one ONNX Runtime thread each, as LitServe has it for work that CPUs do
(https://lightning.ai/docs/litserve/how-tos/parallelism-types); batches of up to eight by its own batching
(https://lightning.ai/docs/litserve/features/batching), at its default of no waiting for more. Images are decoded in
`decode_request`.
"""

import json
import os
from pathlib import Path

import litserve
import numpy as np
import onnxruntime
from PIL import Image
from starlette.formparsers import MultiPartParser

MAX_BATCH_SIZE = 8


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        folder = Path(os.environ["PEER_MODEL"])
        description = json.loads((folder / "model.json").read_text())
        self.labels, self.positive = description["labels"], description["labels"].index(description["positive"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder / description["variants"][os.environ["PEER_VARIANT"]]["file"], options
        )

    # LitServe takes annotations of these two for the endpoint's types, where a form is none of them.
    def decode_request(self, request):
        return np.asarray(Image.open(request["image"].file).convert("L"))

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs  # the graph takes images of different sizes as they are

    def predict(self, images: list[np.ndarray]) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": images})[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, probabilities):
        return {"label": self.labels[int(probabilities.argmax())], "probability": float(probabilities[self.positive])}


if __name__ == "__main__":
    # LitServe passes the upload to its workers by pickle, which a file on disk, as those over 1 MB would be, cannot be.
    MultiPartParser.spool_max_size = 20_000_000
    api = Classifier(max_batch_size=MAX_BATCH_SIZE)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["PEER_CPUS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")

"""LitServe with the same ONNX file, int8 if the model has it.

It runs one worker process per CPU, as advised for CPU work (https://lightning.ai/docs/litserve/how-tos/parallelism-types), each
with one ONNX Runtime thread. Its own batching makes batches of up to eight (https://lightning.ai/docs/litserve/features/batching)
and by default does not wait for more images. `decode_request` decodes the images."""

import litserve
import numpy as np
from PIL import Image
from starlette.formparsers import MultiPartParser

from tests.benchmarks.peers.common import CPUS, PORT, answer, session

MAX_BATCH_SIZE = 8


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = session(threads=1)

    # Without annotations, since LitServe would take them for the types of the endpoint, which accepts a form.
    def decode_request(self, request):
        return np.asarray(Image.open(request["image"].file).convert("L"))

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs  # the graph takes images of different sizes as they are

    def predict(self, images: list[np.ndarray]) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": images})[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, probabilities):
        return answer(probabilities)


if __name__ == "__main__":
    # LitServe pickles the upload for its workers. Starlette puts uploads over 1 MB on disk, and such a file cannot be pickled.
    MultiPartParser.spool_max_size = 20_000_000
    server = litserve.LitServer(Classifier(max_batch_size=MAX_BATCH_SIZE), accelerator="cpu", workers_per_device=CPUS)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")

"""FastAPI and ONNX Runtime with the same model.onnx, which contains the resize: a server that one can write in an afternoon.

FastAPI runs the endpoint in its thread pool, since the model blocks (https://fastapi.tiangolo.com/async/). All requests share
one session with ONNX Runtime's default of one thread per CPU
(https://onnxruntime.ai/docs/performance/tune-performance/threading.html)."""

from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from tests.benchmarks.peers.common import CPUS, PORT, answer, session

graph = session(threads=CPUS)  # named, as the default would count the host's
app = FastAPI()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    grey = np.asarray(Image.open(image.file).convert("L"))
    [[probabilities]] = graph.run(["probabilities"], {"images": [grey]})
    return answer(probabilities)


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, log_level="warning")

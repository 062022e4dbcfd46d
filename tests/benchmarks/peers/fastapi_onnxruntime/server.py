"""FastAPI and ONNX Runtime with the same model.onnx, which contains the resize: a server that one can write in an afternoon.

FastAPI runs the endpoint in its thread pool, since the model blocks (https://fastapi.tiangolo.com/async/). All requests share
one session with ONNX Runtime's default of one thread per CPU
(https://onnxruntime.ai/docs/performance/tune-performance/threading.html).
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

folder = Path(os.environ["PEER_MODEL"])
description = json.loads((folder / "model.json").read_text())
labels, positive = description["labels"], description["labels"].index(description["positive"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["PEER_CPUS"])  # named, as the default would count the host's
session = onnxruntime.InferenceSession(folder / description["variants"][os.environ["PEER_VARIANT"]]["file"], options)
app = FastAPI()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    grey = np.asarray(Image.open(image.file).convert("L"))
    [[probabilities]] = session.run(["probabilities"], {"images": [grey]})
    return {"label": labels[int(probabilities.argmax())], "probability": float(probabilities[positive])}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="warning")

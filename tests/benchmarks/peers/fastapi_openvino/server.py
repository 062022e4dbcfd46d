"""FastAPI and OpenVINO: fp32; or int8, by NNCF or read from our own file, whichever is faster and near enough (`prepare.py`).

The hint THROUGHPUT and as many requests at once as it says, by AsyncInferQueue, as OpenVINO's documentation has it for servers
(«Optimizing for Throughput», https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference.html). Grey
levels go in as uint8, and are scaled in the network («Optimize Preprocessing», there too), but resized by Pillow, in FastAPI's
thread pool: OpenVINO's own resize of that kind (RESIZE_BILINEAR_PILLOW) made the server eight times slower and more.
"""

import json
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import uvicorn
from fastapi import FastAPI, UploadFile
from openvino.preprocess import PrePostProcessor
from PIL import Image


def compiled(core: openvino.Core, choice: dict[str, Any], size: int) -> openvino.CompiledModel:
    processor = PrePostProcessor(core.read_model(choice["file"]))
    processor.input().tensor().set_element_type(openvino.Type.u8)
    network = processor.build()
    network.reshape([1, 1, size, size])
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": int(os.environ["PEER_CPUS"])}
    return core.compile_model(network, "CPU", {**settings, **choice["settings"]})


description = json.loads((Path(os.environ["PEER_MODEL"]) / "model.json").read_text())
labels, positive = description["labels"], description["labels"].index(description["positive"])
square = (description["image_size"],) * 2
choice = json.loads((Path(os.environ["PEER_WORK"]) / "openvino" / "choices.json").read_text())[os.environ["PEER_VARIANT"]][
    "chosen"
]
model = compiled(openvino.Core(), choice, square[0])
queue = openvino.AsyncInferQueue(model)
queue.set_callback(lambda request, future: future.set_result(request.get_output_tensor().data[0].copy()))
starting = threading.Lock()  # the queue takes requests from one thread at a time
app = FastAPI()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    grey = np.asarray(Image.open(image.file).convert("L").resize(square, Image.Resampling.BILINEAR))
    future: Future[np.ndarray] = Future()
    with starting:
        queue.start_async([grey[None, None]], future)
    probabilities = future.result()
    return {"label": labels[int(probabilities.argmax())], "probability": float(probabilities[positive])}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="warning")

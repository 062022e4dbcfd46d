"""FastAPI and OpenVINO with our networks behind the resize, fp32 or int8.

The performance hint is THROUGHPUT, and AsyncInferQueue runs as many requests at once as it advises («Optimizing for
Throughput», https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference.html). Grey levels enter as
uint8 and are scaled in the network («Optimize Preprocessing», same place). Pillow resizes them in FastAPI's thread pool:
OpenVINO's own resize of that kind (RESIZE_BILINEAR_PILLOW) made the server at least eight times slower.

Of four int8 networks, our own in float32 was the fastest within the limit, on one thread. MobileNetV2: 1.89 ms, 2.03 ms in the
default precision, and by NNCF 2.27 and 2.62 ms, off by more than 0.04. ResNet-18: 4.08, 4.13, 4.15 and 4.10 ms."""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import openvino
import uvicorn
from fastapi import FastAPI, UploadFile
from openvino.preprocess import PrePostProcessor
from PIL import Image

from tests.benchmarks.peers.common import CPUS, PORT, SQUARE, VARIANT, WORK, answer

FILES = {"fp32": "network.onnx", "int8": "network.int8.onnx"}
SETTINGS = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": CPUS}
PRECISIONS = {"fp32": {}, "int8": {"INFERENCE_PRECISION_HINT": "f32"}}

core = openvino.Core()
processor = PrePostProcessor(core.read_model(WORK / FILES[VARIANT]))
processor.input().tensor().set_element_type(openvino.Type.u8)
network = processor.build()
network.reshape([1, 1, *SQUARE])
model = core.compile_model(network, "CPU", {**SETTINGS, **PRECISIONS[VARIANT]})
queue = openvino.AsyncInferQueue(model)
queue.set_callback(lambda request, future: future.set_result(request.get_output_tensor().data[0].copy()))
starting = threading.Lock()  # the queue accepts requests from one thread at a time
app = FastAPI()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    grey = np.asarray(Image.open(image.file).convert("L").resize(SQUARE, Image.Resampling.BILINEAR))
    future: Future[np.ndarray] = Future()
    with starting:
        queue.start_async([grey[None, None]], future)
    return answer(future.result())


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, log_level="warning")

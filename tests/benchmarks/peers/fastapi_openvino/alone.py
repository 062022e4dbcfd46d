"""Prints the milliseconds of each run of the int8 network alone, on one thread, as JSON: alone.py FILE SIZE RUNS"""

import json
import sys
import time

import numpy as np
import openvino

file, size, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
request = openvino.Core().compile_model(file, "CPU", settings).create_infer_request()
image = np.random.default_rng(0).integers(0, 256, (1, 1, size, size)).astype(np.float32)
request.infer({0: image})  # warms up
times = []
for _ in range(runs):
    begin = time.perf_counter()
    request.infer({0: image})
    times.append(1000 * (time.perf_counter() - begin))
print(json.dumps(times))

"""The int8 network alone on one thread, a slice of runs for each line that comes in, so that another process can take turns.

slices.py WORK RUNS        answers each line by a line of JSON: milliseconds, one for each run
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import openvino


def main(work: Path, runs: int) -> None:
    choice = json.loads((work / "openvino" / "choices.json").read_text())["int8"]["chosen"]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, **choice["settings"]}
    model = openvino.Core().compile_model(choice["file"], "CPU", settings)
    request = model.create_infer_request()
    image = np.load(work / "phantoms.npz")["asked"][0][None, None].astype(np.float32)
    for _ in sys.stdin:
        print(json.dumps([milliseconds(request, image) for _ in range(runs)]), flush=True)


def milliseconds(request: openvino.InferRequest, image: np.ndarray) -> float:
    begin = time.perf_counter()
    request.infer({0: image})
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

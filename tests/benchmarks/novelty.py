"""What novelty costs: the shipped graph, and the same graph without that output, in turn, one image at a time on one thread.

make benchmark-novelty        writes tests/benchmarks/novelty.json, prints the README's words
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.conftest import DEFAULT_MODEL
from training import run_folder
from training.data import phantoms

RESULT = Path(__file__).with_suffix(".json")
PAIRS = 500


def main() -> None:
    whole = onnx.load(DEFAULT_MODEL / "model.onnx")
    image = phantoms.draw(np.random.default_rng(0), sick=True)
    sessions = session(whole), session(without_novelty(whole))
    pairs = [[seconds(one, image) for one in sessions] for _ in range(PAIRS)]
    milliseconds = [1000 * statistics.median(taken) for taken in zip(*pairs, strict=True)]
    # Of the pairs, for what else the machine does comes and goes slower than they do.
    share = statistics.median(1 - without / whole for whole, without in pairs)
    processor = run_folder.environment()["processor"]
    result = {
        "processor": processor,
        "pairs": PAIRS,
        "whole_ms": milliseconds[0],
        "without_ms": milliseconds[1],
        "share": share,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(words(result))


def without_novelty(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime leaves out what no output needs."""
    less = onnx.ModelProto()
    less.CopyFrom(model)
    del less.graph.output[[output.name for output in less.graph.output].index("novelty")]
    return less


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # not of what it leaves out
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def seconds(one: onnxruntime.InferenceSession, image: np.ndarray) -> float:
    begin = time.perf_counter()
    one.run(None, {"images": [image]})
    return time.perf_counter() - begin


def words(result: dict[str, float]) -> str:
    return f"{result['share']:.1%} of the graph's time"


if __name__ == "__main__":
    main()

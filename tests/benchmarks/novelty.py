"""The cost of novelty: the default graph, and the same graph without that output, in turn, one image at a time on one thread.

make benchmark-novelty        writes tests/benchmarks/novelty.json, prints the README's words"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.benchmarks import results
from tests.benchmarks.images import drawings
from tests.conftest import DEFAULT_MODEL
from training.graph.inference import session_of

RESULT = Path(__file__).with_suffix(".json")
PAIRS = 500


def main() -> None:
    graph, image = onnx.load(DEFAULT_MODEL / "model.onnx"), next(drawings(1))
    sessions = [session_of(graph)]
    del graph.graph.output[[output.name for output in graph.graph.output].index("novelty")]
    sessions.append(session_of(graph))  # ONNX Runtime leaves out what no output needs
    pairs = [[milliseconds(each, [image]) for each in sessions] for _ in range(PAIRS)]
    # The median of the pairs' shares, since other work on the machine changes more slowly than pairs follow each other.
    share = statistics.median(1 - without / whole for whole, without in pairs)
    whole, without = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(words(results.record(RESULT, {"pairs": PAIRS, "whole_ms": whole, "without_ms": without, "share": share})))


def milliseconds(session: onnxruntime.InferenceSession, value: np.ndarray | list[np.ndarray]) -> float:
    """Of one run. `value`: that of the graph's only input."""
    feed = {session.get_inputs()[0].name: value}
    begin = time.perf_counter()
    session.run(None, feed)
    return 1000 * (time.perf_counter() - begin)


def words(result: dict[str, Any]) -> str:  # Any: JSON
    return f"{result['share']:.1%} of the graph's time"


if __name__ == "__main__":
    main()

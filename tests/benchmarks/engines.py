"""The int8 network alone, one image on one thread: ONNX Runtime as the service runs it, and OpenVINO in its own environment."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from service.model.artefact import read_artefact
from tests.benchmarks import conversion, environments, servers
from tests.benchmarks.environments import PEERS, BenchmarkError
from tests.benchmarks.results import Engines

PEER = "fastapi_openvino"
ROUNDS, RUNS = 30, 20


def compare(model: Path) -> Engines:
    work = servers.work_folder(model)
    ours = _ours(model, work)
    command = [str(environments.python(PEER)), str(PEERS / PEER / "slices.py"), str(work), str(RUNS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as theirs:
        taken: tuple[list[float], list[float]] = ([], [])
        for turn in range(ROUNDS + 1):
            slices = ours(), _slice(theirs)
            if turn:  # the first is a warm-up
                for times, found in zip(taken, slices, strict=True):
                    times += found
        assert theirs.stdin
        theirs.stdin.close()
    return Engines(ours=statistics.median(taken[0]), openvino=statistics.median(taken[1]))


def _slice(theirs: "subprocess.Popen[str]") -> list[float]:
    assert theirs.stdin and theirs.stdout
    theirs.stdin.write("\n")
    if not (line := theirs.stdout.readline()):
        raise BenchmarkError("OpenVINO's process ended before its turn")
    times: list[float] = json.loads(line)
    return times


def _ours(model: Path, work: Path) -> Callable[[], list[float]]:
    artefact = read_artefact(model, servers.INT8)
    whole, size = onnx.load_from_string(artefact.graph), artefact.description.image_size
    network = conversion.behind_resize(whole, size, ["features"]).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    image = np.load(work / conversion.PHANTOMS)["asked"][0][None, None].astype(np.float32)
    feed = {session.get_inputs()[0].name: image}

    def run() -> float:
        begin = time.perf_counter()
        session.run(None, feed)
        return 1000 * (time.perf_counter() - begin)

    return lambda: [run() for _ in range(RUNS)]

"""The int8 network alone, one image on one thread: ONNX Runtime as the service runs it, and OpenVINO in its own environment."""

import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from service.model.artefact import read_artefact
from tests.benchmarks import conversion, environments, servers
from tests.benchmarks.environments import PEERS
from tests.benchmarks.results import Engines

PEER = "fastapi_openvino"
ROUNDS, RUNS = 10, 60


def compare(model: Path) -> Engines:
    """Medians over rounds in turn, so that slow changes of the machine's speed fall on both alike."""
    artefact = read_artefact(model, servers.INT8)
    size = artefact.description.image_size
    network = conversion.behind_resize(onnx.load_from_string(artefact.graph), size, ["features"]).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (1, 1, size, size)).astype(np.float32)
    feed = {session.get_inputs()[0].name: image}
    file = servers.work_folder(model) / conversion.NETWORKS[servers.INT8]
    command = [str(environments.python(PEER)), str(PEERS / PEER / "alone.py"), str(file), str(size), str(RUNS)]
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        session.run(None, feed)  # warms up
        for _ in range(RUNS):
            begin = time.perf_counter()
            session.run(None, feed)
            ours.append(1000 * (time.perf_counter() - begin))
        theirs += json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Engines(ours=statistics.median(ours), openvino=statistics.median(theirs))

"""What the peers share: their settings, the model folder, a session on its graph, and the answer."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

FOLDER, WORK, VARIANT = Path(os.environ["PEER_MODEL"]), Path(os.environ["PEER_WORK"]), os.environ["PEER_VARIANT"]
CPUS, PORT = int(os.environ["PEER_CPUS"]), int(os.environ["PEER_PORT"])
DESCRIPTION = json.loads((FOLDER / "model.json").read_text())
SQUARE = (DESCRIPTION["image_size"],) * 2


def session(threads: int) -> Any:
    import onnxruntime  # not every peer has it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(FOLDER / DESCRIPTION["variants"][VARIANT]["file"], options)


def answer(probabilities: np.ndarray) -> dict[str, Any]:
    labels, positive = DESCRIPTION["labels"], DESCRIPTION["positive"]
    return {"label": labels[int(probabilities.argmax())], "probability": float(probabilities[labels.index(positive)])}

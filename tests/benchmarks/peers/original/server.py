"""FastAPI, uvicorn, PyTorch eager and torchvision's transforms: the stack that this project replaces.

One process answers one request at a time, with PyTorch's default of one thread per CPU
(https://docs.pytorch.org/docs/stable/notes/multithreading.html). FastAPI's advice for blocking work, its thread pool, was
tried: it gave no more requests/s, and a single request took a quarter longer.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torch import nn

try:
    import torchvision
except RuntimeError:  # torchvision from PyPI beside a CPU build of torch
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from torchvision import transforms

MEAN, DEVIATION = 0.449, 0.226


def load(description: dict[str, Any], weights: Path) -> nn.Module:
    """torchvision's own module with a head of two outputs, as in the original, with these weights."""
    model: nn.Module = torchvision.models.get_model(description["backbone"], weights=None, num_classes=2)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


description = json.loads((Path(os.environ["PEER_MODEL"]) / "model.json").read_text())
labels, positive = description["labels"], description["labels"].index(description["positive"])
torch.set_num_threads(int(os.environ["PEER_CPUS"]))
model = load(description, Path(os.environ["PEER_WORK"]) / "weights.pt")
transform = transforms.Compose([
    transforms.Resize((description["image_size"],) * 2),
    transforms.ToTensor(),
    transforms.Normalize([MEAN] * 3, [DEVIATION] * 3),
])  # fmt: skip
app = FastAPI()


@app.post("/predict")
async def predict(image: UploadFile) -> dict[str, Any]:
    pixels = transform(Image.open(image.file).convert("RGB")).unsqueeze(0)
    with torch.inference_mode():
        probabilities = torch.softmax(model(pixels), dim=1)[0]
    return {"label": labels[int(probabilities.argmax())], "probability": float(probabilities[positive])}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="warning")

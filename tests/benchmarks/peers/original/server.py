"""FastAPI, uvicorn, PyTorch eager and torchvision's transforms: the stack that this project replaces.

One process answers one request at a time, with PyTorch's default of one thread per CPU
(https://docs.pytorch.org/docs/stable/notes/multithreading.html). FastAPI's advice for blocking work, its thread pool, was
tried: it gave no more requests/s, and a single request took a quarter longer."""

from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from tests.benchmarks.peers import network
from tests.benchmarks.peers.common import CPUS, DESCRIPTION, PORT, SQUARE, WORK, answer
from training.vision import torchvision

MEAN, DEVIATION = 0.449, 0.226

torch.set_num_threads(CPUS)
model = network.build(DESCRIPTION)
model.load_state_dict(torch.load(WORK / "weights.pt", weights_only=True))
model.eval()
v1 = torchvision.transforms
transform = v1.Compose([v1.Resize(SQUARE), v1.ToTensor(), v1.Normalize([MEAN] * 3, [DEVIATION] * 3)])
app = FastAPI()


@app.post("/predict")
async def predict(image: UploadFile) -> dict[str, Any]:
    pixels = transform(Image.open(image.file).convert("RGB")).unsqueeze(0)
    with torch.inference_mode():
        return answer(torch.softmax(model(pixels), dim=1)[0].numpy())


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, log_level="warning")

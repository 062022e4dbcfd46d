"""Checks that no server wins by doing less: all give the same label, and a probability within 0.02, for the same images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from service.images.decode import decode_image
from service.model.artefact import read_artefact, read_description
from service.model.classifier import Classifier, GreyImage
from tests.benchmarks import client, servers
from tests.benchmarks.images import KINDS, drawings, encode
from tests.benchmarks.servers import Running, Server

LIMIT = 0.02
DRAWN, OF_EACH_LABEL = 60, 2
SURE = (0.05, 0.95)


def questions(model: Path) -> dict[Path, float]:
    """Requests for the model's synthetic examples, or else for the phantoms, that are nearest to SURE, in four kinds of files,
    and their probabilities by our fp32 graph. Any rounding moves a probability by more than LIMIT where a model is unsure, as
    one that learned from X-rays is of all phantoms, and by nothing where it has no doubt at all."""
    classifier, asked = Classifier(read_artefact(model, servers.FP32)), {}
    examples = [decode_image(path.read_bytes()).grey for path in sorted((model / "examples").glob("*.jpeg"))]
    drawn = examples or [image for drawing in drawings(DRAWN, seed=1) for image in variations(drawing)]
    found = np.array([probability(classifier, image) for image in drawn])
    for number in (number for sure in SURE for number in np.argsort(np.abs(found - sure))[:OF_EACH_LABEL]):
        for kind in KINDS:
            content = encode(drawn[number], kind)
            request = client.request(f"image {number}, {kind.name}", content, kind.content_type)
            asked[request] = probability(classifier, decode_image(content).grey)
    return asked


def variations(drawing: GreyImage) -> Iterator[GreyImage]:
    """As drawn, underexposed, and smooth with hard contrast: a model without phantoms in training is surer of some of them."""
    image = Image.fromarray(drawing)
    yield drawing
    yield np.asarray(ImageEnhance.Brightness(image).enhance(0.5))
    yield np.asarray(ImageEnhance.Contrast(image.filter(ImageFilter.GaussianBlur(2))).enhance(1.5))


def probability(classifier: Classifier, grey: GreyImage) -> float:
    description = classifier.artefact.description
    return float(classifier.classify([grey]).probabilities[0, description.labels.index(description.positive)])


def check(server: Server, running: Running, model: Path, asked: dict[Path, float]) -> float:
    """The largest difference of a probability. Raises RuntimeError if it is too large, or if a label differs."""
    positive, largest = read_description(model).positive, 0.0
    with client.connected(running.port) as connection:
        for request, expected in asked.items():
            label, found = read(client.ask(connection, request), positive)
            largest = max(largest, abs(found - expected))
            if largest > LIMIT or (label == positive) != (expected > 0.5):
                raise RuntimeError(f"{server.name}, {request.name}: {label}, {found:.4f} instead of {expected:.4f} ± {LIMIT}")
    return largest


def read(answer: Any, positive: str) -> tuple[str, float]:  # Any: each server's own JSON
    if isinstance(answer, list):  # a batch of one image
        [answer] = answer
    if isinstance(answer, str):
        answer = json.loads(answer)
    return answer["label"], answer["probabilities"][positive] if "probabilities" in answer else answer["probability"]

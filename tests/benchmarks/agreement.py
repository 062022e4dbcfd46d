"""Checks that no server wins by doing less: all give the same label, and a probability within 0.02, for the same images."""

import http.client
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service.images.decode import decode_image
from service.model.artefact import read_artefact, read_description
from service.model.classifier import Classifier, GreyImage
from tests.benchmarks import client, servers
from tests.benchmarks.environments import BenchmarkError
from tests.benchmarks.images import KINDS, drawings, encode, variations
from tests.benchmarks.servers import Running, Server

LIMIT = 0.02
DRAWN, OF_EACH_LABEL = 60, 3
SURE = (0.05, 0.95)


class Question(NamedTuple):
    """`expected`: the positive label's probability by our fp32 graph in this process."""

    request: Path
    expected: float


def questions(model: Path) -> list[Question]:
    """Six phantoms in three kinds of files, chosen by our fp32 graph alone: those nearest to SURE, three of each label.

    Where a model is unsure, any rounding (bfloat16, or one grey level) moves a probability by more than 0.02. Where it has no
    doubt at all, nothing moves it.
    """
    classifier = Classifier(read_artefact(model, servers.FP32))
    drawn = [image for drawing in drawings(DRAWN, seed=1) for image in variations(drawing)]
    found = np.array([probability(classifier, image) for image in drawn])
    chosen = [number for sure in SURE for number in np.argsort(np.abs(found - sure))[:OF_EACH_LABEL]]
    asked = []
    for number in chosen:
        for kind in KINDS:
            content = encode(drawn[number], kind)
            request = client.request(f"phantom {number}, {kind.name}", content, kind.content_type)
            asked.append(Question(request, probability(classifier, decode_image(content).grey)))
    return asked


def probability(classifier: Classifier, grey: GreyImage) -> float:
    """The positive label's."""
    description = classifier.artefact.description
    return float(classifier.classify([grey]).probabilities[0, description.labels.index(description.positive)])


def check(server: Server, running: Running, model: Path, asked: list[Question]) -> float:
    """The largest difference of a probability. Raises BenchmarkError if it is too large, or if a label differs."""
    description = read_description(model)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    largest = 0.0
    for request, expected in asked:
        label, found = read(client.ask(connection, servers.PATH, request), description.positive)
        largest = max(largest, abs(found - expected))
        if largest > LIMIT or (label == description.positive) != (expected > 0.5):
            raise BenchmarkError(
                f"{model.name}, {server.name}, {request.name}: {label}, {found:.4f} instead of {expected:.4f} ± {LIMIT}"
            )
    connection.close()
    return largest


def read(answer: Any, positive: str) -> tuple[str, float]:  # Any: each server's own JSON
    """The label, and the probability of the positive label, from a peer's answer or from ours."""
    if isinstance(answer, list):  # a batch of one image
        [answer] = answer
    if isinstance(answer, str):
        answer = json.loads(answer)
    return answer["label"], answer["probabilities"][positive] if "probabilities" in answer else answer["probability"]

"""That nobody wins by doing less: every server gives the same label, and a probability within 0.02, for the same images."""

import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service.images.decode import decode_image
from service.model import artefact
from service.model.classifier import Classifier, GreyImage
from tests.benchmarks import client, servers
from tests.benchmarks.client import Request
from tests.benchmarks.environments import BenchmarkError
from tests.benchmarks.images import KINDS, drawings, encode, looks
from tests.benchmarks.servers import Running, Server

LIMIT = 0.02
DRAWN, OF_EACH_LABEL = 60, 3
SURE = (0.05, 0.95)


class Question(NamedTuple):
    """`grey`: as the service decodes it. `expected`: the positive label's probability by our fp32 graph, in this process."""

    request: Request
    grey: GreyImage
    expected: float


def questions(model: Path) -> list[Question]:
    """Six phantoms in three files each, chosen by our fp32 graph alone: of many those nearest to SURE, three of either label.
    Where a model wavers, any rounding moves a probability by more than 0.02, be it bfloat16's or a grey level's; where it has
    no doubt at all, nothing does."""
    classifier = Classifier(artefact.read_artefact(model, servers.FP32))
    drawn = [look for drawing in drawings(DRAWN, seed=1) for look in looks(drawing)]
    found = probabilities(classifier, drawn)
    chosen = [number for sure in SURE for number in np.argsort(np.abs(found - sure))[:OF_EACH_LABEL]]
    asked = []
    for number in chosen:
        for kind in KINDS:
            content = encode(drawn[number], kind)
            grey = decode_image(content).grey
            request = client.request(f"phantom {number}, {kind.name}", content, kind.content_type)
            asked.append(Question(request, grey, float(probabilities(classifier, [grey])[0])))
    return asked


def probabilities(classifier: Classifier, greys: Sequence[GreyImage]) -> "np.typing.NDArray[np.float32]":
    """Of the positive label; one by one, as they are of many sizes."""
    description = classifier.artefact.description
    column = description.labels.index(description.positive)
    return np.array([classifier.classify([grey]).probabilities[0, column] for grey in greys])


def check(server: Server, running: Running, model: Path, asked: Sequence[Question]) -> float:
    """The largest difference. Raises BenchmarkError: it is too large, or a label differs."""
    description = artefact.read_description(model)
    negative = next(label for label in description.labels if label != description.positive)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    worst = 0.0
    for question in asked:
        label, probability = read(client.ask(connection, servers.PATH, question.request), description.positive)
        worst = max(worst, abs(probability - question.expected))
        if worst > LIMIT or label != (description.positive if question.expected > 0.5 else negative):
            raise BenchmarkError(
                f"{model.name}, {server.name}, {question.request.name}: {label}, {probability:.4f} instead of "
                f"{question.expected:.4f} ± {LIMIT}"
            )
    connection.close()
    return worst


def read(answer: Any, positive: str) -> tuple[str, float]:  # Any: each server's own JSON
    """Label, and probability of the positive label, from a peer's answer or from ours."""
    if isinstance(answer, list):  # of a batch that had one image in it
        [answer] = answer
    if isinstance(answer, str):
        answer = json.loads(answer)
    found: Mapping[str, Any] = answer
    return found["label"], found["probabilities"][positive] if "probabilities" in found else found["probability"]

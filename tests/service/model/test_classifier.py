import hashlib

import numpy as np
import pytest
from msgspec.structs import replace

from service.errors import ArtefactError
from service.model.artefact import Artefact, read_artefact
from service.model.classifier import Classifier, self_test_image
from tests.conftest import DEFAULT_MODEL, grey

IMAGES = [grey(*size, seed) for seed, size in enumerate([(200, 300), (64, 96), (500, 400), (224, 224), (700, 450)])]


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return read_artefact(DEFAULT_MODEL, "fp32")


@pytest.fixture(scope="module")
def classifier(artefact: Artefact) -> Classifier:
    return Classifier(artefact)


def test_the_mean_of_the_heatmap_and_the_bias_give_the_probability(classifier: Classifier, artefact: Artefact) -> None:
    outputs = classifier.classify(IMAGES)
    logit = outputs.heatmaps.astype(np.float64).mean((1, 2)) + artefact.description.variants["fp32"].bias
    assert np.abs(1 / (1 + np.exp(-logit)) - outputs.probabilities[:, 1]).max() < 1e-5
    assert np.abs(outputs.probabilities.sum(1) - 1).max() < 1e-6


def test_an_image_alone_and_among_others_gives_the_same_bits(classifier: Classifier) -> None:
    batch = classifier.classify((IMAGES * 4)[:16])
    for index, image in enumerate(IMAGES):
        for one, many in zip(classifier.classify([image]), batch, strict=True):
            assert np.array_equal(one[0], many[index])


def test_a_graph_that_is_not_as_described_is_rejected(artefact: Artefact) -> None:
    known = artefact.description
    test = replace(known.self_test, probability={"fp32": abs(known.self_test.probability["fp32"] - 0.01)})
    with pytest.raises(ArtefactError, match="self-test"):
        Classifier(replace(artefact, description=replace(known, self_test=test))).self_test()
    heatmap = replace(known.heatmap, grid=(3, 3))
    with pytest.raises(ArtefactError, match=r"answers \d+ images by outputs of .*7, 7"):
        Classifier(replace(artefact, description=replace(known, heatmap=heatmap))).warm_up(2)
    with pytest.raises(ArtefactError, match=r"model\.onnx"):
        Classifier(replace(artefact, graph=b"not a graph"))


def test_the_self_test_image_is_the_same_everywhere() -> None:
    image = self_test_image(128, 160)
    assert (image.shape, hashlib.sha256(image.tobytes()).hexdigest()[:16]) == ((128, 160), "a622b836c5179346")


def test_int8_computes_on_every_cpu_what_it_computed_when_it_was_exported() -> None:
    Classifier(read_artefact(DEFAULT_MODEL, "int8")).self_test()

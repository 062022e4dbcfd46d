import hashlib

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import numpy_helper

from service.errors import ArtefactError, NoAnswer
from service.images.decode import DecodedImage
from service.model.artefact import Artefact, read_artefact
from service.model.classifier import Classifier, self_test_image
from service.model.prediction import interpret
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


@pytest.mark.parametrize("name", ["novelty_mean", "evidence_weight"])
def test_a_graph_that_computes_nan_is_rejected_as_is_each_of_its_answers(artefact: Artefact, name: str) -> None:
    model = onnx.load_from_string(artefact.graph)
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(tensor), np.nan), name))
    damaged = Classifier(replace(artefact, graph=model.SerializeToString()))
    with pytest.raises(ArtefactError, match="not finite"):
        damaged.warm_up(2)
    [outputs] = damaged.classify_each(IMAGES[:1])
    with pytest.raises(NoAnswer, match="no finite numbers"):
        interpret(artefact.description, DecodedImage(IMAGES[0]), outputs)


def test_the_self_test_image_is_the_same_everywhere() -> None:
    image = self_test_image(128, 160)
    assert (image.shape, hashlib.sha256(image.tobytes()).hexdigest()[:16]) == ((128, 160), "a622b836c5179346")

"""A graph that computes numbers which are not finite. (It stands here because the service's own tests run without onnx.)"""

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import numpy_helper

from service.errors import ArtefactError, NoAnswer
from service.images.decode import DecodedImage
from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from service.model.prediction import interpret
from tests.conftest import DEFAULT_MODEL, grey


@pytest.mark.parametrize("name", ["novelty_mean", "evidence_weight"])
def test_a_graph_that_computes_nan_is_rejected_as_is_each_of_its_answers(name: str) -> None:
    artefact, image = read_artefact(DEFAULT_MODEL, "fp32"), grey(200, 300)
    model = onnx.load_from_string(artefact.graph)
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(tensor), np.nan), name))
    damaged = Classifier(replace(artefact, graph=model.SerializeToString()))
    with pytest.raises(ArtefactError, match="not finite"):
        damaged.warm_up(2)
    [outputs] = damaged.classify_each([image])
    with pytest.raises(NoAnswer, match="no finite numbers"):
        interpret(artefact.description, DecodedImage(image), outputs)

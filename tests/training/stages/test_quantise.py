"""The shipped int8 variant, as ONNX Runtime runs it."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from service.model.artefact import Variant
from service.model.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, grey
from training.graph import inference, model_folder, surgery
from training.graph.model_folder import FP32, INT8
from training.stages import quantise

IMAGES = [grey(300 + 20 * seed, 280, seed) for seed in range(12)]
FP32_ALWAYS = {"evidence_weight", "novelty_components"}  # the head, and novelty


@pytest.fixture(scope="module")
def variant() -> Variant:
    return model_folder.load(DEFAULT_MODEL).artefact.description.variants[INT8]


@pytest.fixture(scope="module")
def optimised(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The graph that runs: `model.int8.onnx` after all of ONNX Runtime's rewriting."""
    path = tmp_path_factory.mktemp("optimised") / "model.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(DEFAULT_MODEL / "model.int8.onnx", options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def test_every_convolution_runs_in_int8_but_those_that_are_listed(optimised: onnx.ModelProto, variant: Variant) -> None:
    in_int8 = [node for node in optimised.graph.node if node.op_type == "QLinearConv"]
    in_fp32 = [node for node in optimised.graph.node if node.op_type in ("Conv", "FusedConv")]
    assert len(in_int8) == 52 - len(variant.kept_in_fp32)
    assert len(in_fp32) == len(variant.kept_in_fp32) + len(FP32_ALWAYS)
    assert not {node.name.partition("_token")[0] for node in in_int8} & set(variant.kept_in_fp32)


def test_weights_are_int8_with_a_step_for_each_channel(optimised: onnx.ModelProto) -> None:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in optimised.graph.initializer}
    for node in optimised.graph.node:
        if node.op_type == "QLinearConv":
            weight, step = tensors[node.input[3]], tensors[node.input[4]]
            assert weight.dtype == np.int8
            assert step.shape == (len(weight),)


def test_nothing_but_the_ends_of_the_network_changes_between_int8_and_fp32(optimised: onnx.ModelProto) -> None:
    assert [node.op_type for node in optimised.graph.node].count("QuantizeLinear") == 1
    back = {node.output[0].removesuffix("/duplicated") for node in optimised.graph.node if node.op_type == "DequantizeLinear"}
    assert back == set(surgery.MAPS)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_an_image_alone_and_among_others_gives_the_same_bits(batch_size: int) -> None:
    classifier = model_folder.load(DEFAULT_MODEL, INT8)
    together = classifier.classify([*IMAGES, *IMAGES][:batch_size])
    for one, many in zip(classifier.classify(IMAGES[:1]), together, strict=True):
        assert np.array_equal(one[0], many[0])


def test_the_variant_passes_its_own_self_test() -> None:
    model_folder.load(DEFAULT_MODEL, INT8).self_test()


def test_quantising_again_gives_the_same_bits_and_few_images_suffice_for_like_answers() -> None:
    model = onnx.load(DEFAULT_MODEL / "model.onnx")
    (quantised, kept), (again, _) = (quantise.quantise(model, IMAGES) for _ in range(2))
    assert quantised.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert kept == ["features.0.0", "features.1.conv.0.0"]
    maps = [session.run(["heatmaps"], {"images": IMAGES})[0] for session in map(inference.session_of, (model, quantised))]
    assert np.corrcoef(*(of_all.ravel() for of_all in maps))[0, 1] > 0.99


def test_both_variants_say_what_the_map_says() -> None:
    for name in (FP32, INT8):
        classifier: Classifier = model_folder.load(DEFAULT_MODEL, name)
        outputs = classifier.classify(IMAGES)
        logit = outputs.heatmaps.astype(np.float64).mean((1, 2)) + classifier.artefact.description.variants[name].bias
        assert np.abs(1 / (1 + np.exp(-logit)) - outputs.probabilities[:, 1]).max() < 1e-5

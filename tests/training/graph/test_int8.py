"""The int8 variant: the graph that is taken apart, the rounding of its weights, and the shipped file as it runs."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from scipy.special import expit

from tests.conftest import DEFAULT_MODEL, grey
from training.graph import inference, model_folder, rounding, surgery
from training.graph.model_folder import INT8
from training.stages import quantise

CONVOLUTIONS = 48  # of the shipped network
IMAGES = [grey(300 + 20 * seed, 280, seed) for seed in range(12)]


def test_a_network_has_the_layers_names_of_torch_and_put_back_gives_the_same_bits() -> None:
    shipped = onnx.load(DEFAULT_MODEL / "model.onnx")
    network = surgery.network_of(shipped)
    names = [node.name for node in network.graph.node if node.op_type == "Conv"]
    assert names[:3] == ["features.conv_stem", "features.blocks.0.0.conv_dw", "features.blocks.0.0.conv_pw"]
    assert len(set(names)) == len(names) == CONVOLUTIONS
    models = (shipped, surgery.with_network(shipped, network))
    before, after = (inference.session_of(model).run(None, {"images": IMAGES[:1]}) for model in models)
    assert all(np.array_equal(*outputs) for outputs in zip(before, after, strict=True))


def drawn(groups: int, rows: int, columns: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights [G, R, K], inputs [G, K, N] that depend on each other as neighbouring pixels do, coarse steps [G, R], and the
    weights rounded to the nearest step."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(groups, rows, columns, generator=generator, dtype=torch.float64)
    common = torch.randn(groups, 1, inputs, generator=generator, dtype=torch.float64)
    own = torch.randn(groups, columns, inputs, generator=generator, dtype=torch.float64)
    step = weights.abs().amax(2) / 31
    return weights, 1 + common + 0.1 * own, step, (weights / step[:, :, None]).round() * step[:, :, None]


@pytest.mark.parametrize("shape", [(20, 1, 9), (1, 30, 300)], ids=["depthwise", "wider than a block"])
def test_errors_cancel_on_real_inputs_and_unrelated_inputs_leave_the_nearest(shape: tuple[int, int, int]) -> None:
    weights, inputs, step, nearest = drawn(*shape, 2000)
    rounded = rounding.round_compensated(weights, inputs @ inputs.mT, step)
    of_rounded, of_nearest = (((weights - found) @ inputs).square().mean() for found in (rounded, nearest))
    assert of_rounded < 0.2 * of_nearest
    unrelated = torch.eye(shape[2], dtype=torch.float64).expand(shape[0], shape[2], shape[2])
    assert torch.allclose(rounding.round_compensated(weights, unrelated, step), nearest)


def test_every_weight_is_a_whole_multiple_within_the_range_even_if_an_input_is_always_zero() -> None:
    weights, inputs, *_ = drawn(3, 5, 40, 500)
    inputs[:, 3] = 0
    step = weights.abs().amax(2) / rounding.LEVELS
    levels = rounding.round_compensated(weights, inputs @ inputs.mT, step) / step[:, :, None]
    assert (levels - levels.round()).abs().max() < 1e-9 and levels.round().abs().max() <= rounding.LEVELS


def test_quantising_again_gives_the_same_bits_and_few_images_suffice_for_like_answers() -> None:
    shipped = onnx.load(DEFAULT_MODEL / "model.onnx")
    (quantised, kept), (again, _) = (quantise.quantise(shipped, IMAGES[:4]) for _ in range(2))
    assert quantised.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert kept == ["features.conv_stem", "features.blocks.0.0.conv_dw"]
    before, after = (inference.session_of(model).run(["heatmaps"], {"images": IMAGES})[0] for model in (shipped, quantised))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.98  # the limit of the gate


def test_all_convolutions_but_those_listed_run_in_int8_and_nothing_between_them_in_fp32(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(DEFAULT_MODEL / "model.int8.onnx", options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(options.optimized_model_filepath)  # after all of ONNX Runtime's rewriting
    kept = model_folder.description_of(DEFAULT_MODEL).variants[INT8].kept_in_fp32
    in_int8 = [node for node in optimised.graph.node if node.op_type == "QLinearConv"]
    in_fp32 = [node for node in optimised.graph.node if node.op_type in ("Conv", "FusedConv")]
    assert (len(in_int8), len(in_fp32)) == (CONVOLUTIONS - len(kept), len(kept) + 2)  # the head and novelty too
    assert not {node.name.partition("_token")[0] for node in in_int8} & set(kept)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in optimised.graph.initializer}
    for weight, step in ((tensors[node.input[3]], tensors[node.input[4]]) for node in in_int8):
        assert weight.dtype == np.int8 and step.shape == (len(weight),)
    assert [node.op_type for node in optimised.graph.node].count("QuantizeLinear") == 1
    back = {node.output[0].removesuffix("/duplicated") for node in optimised.graph.node if node.op_type == "DequantizeLinear"}
    assert back == set(surgery.MAPS)


def test_the_shipped_variant_passes_its_self_test_says_what_its_map_says_and_the_same_bits_alone_and_among_others() -> None:
    classifier = model_folder.load(DEFAULT_MODEL, INT8)
    classifier.self_test()
    bias = classifier.artefact.description.variants[INT8].bias
    alone, together = classifier.classify(IMAGES[:1]), classifier.classify([*IMAGES, *IMAGES][:16])
    assert all(np.array_equal(one[0], many[0]) for one, many in zip(alone, together, strict=True))
    evidence = together.heatmaps.astype(np.float64).mean((1, 2))
    assert np.abs(expit(evidence + bias) - together.probabilities[:, 1]).max() < 1e-5

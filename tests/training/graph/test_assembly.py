"""The exported graph against torch, Pillow and its own definition."""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import parser
from PIL import Image
from scipy.special import expit, logit
from sklearn.decomposition import PCA
from torch import nn

from tests.conftest import grey
from tests.training.conftest import SIZE, export
from training.data import batches
from training.data.batches import MEAN
from training.graph import assembly, inference, surgery
from training.network.backbone import Network

SIZES = [(200, 300), (301, 64), (95, 97), (640, 480), (97, 40), (96, 97), (1024, 700)]  # width, height
IMAGES = [grey(*size, seed) for seed, size in enumerate(SIZES)]
NETWORK = """
<ir_version: 10, opset_import: ["": 18]>
network (float[N, 1, 96, 96] pixels) => (float[N, 1, 6, 6] middle_features, float[N, 4, 96, 96] features) {
  features = Concat <axis = 1> (pixels, pixels, pixels, pixels)
  middle_features = AveragePool <kernel_shape = [16, 16], strides = [16, 16]> (pixels)
}
"""


def run(model: onnx.ModelProto, images: Sequence[npt.NDArray[np.uint8]] = IMAGES) -> list[npt.NDArray[np.float64]]:
    return [output.astype(np.float64) for output in inference.session_of(model).run(None, {"images": list(images)})]


@functools.cache
def served(name: str) -> tuple[Network, onnx.ModelProto]:
    """With a temperature of 0.7, and 0.3 added to the logit."""
    network, exported = export(name)
    weight = (network.head.weight[1] - network.head.weight[0]).detach().numpy()
    bias = (network.head.bias[1] - network.head.bias[0]).item()
    model = assembly.assemble(exported, SIZE, weight, bias, ["NORMAL", "PNEUMONIA"], "PNEUMONIA")
    assembly.set_calibration(model, temperature=0.7, bias=assembly.calibration(model)[1] / 0.7 + 0.3)
    return network, model


def tensors() -> torch.Tensor:
    transform = batches.plain(SIZE)
    return torch.stack([transform(torch.from_numpy(image.astype(np.float32))[None] / 255) for image in IMAGES])


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", pytest.param("densenet121", marks=pytest.mark.torture)])
def test_torch_and_onnx_agree_on_the_calibrated_logit_in_batches_of_any_size(name: str) -> None:
    network, model = served(name)
    session = inference.session_of(model)
    with torch.inference_mode():
        logits = network(tensors()).double().numpy()
    expected = (logits[:, 1] - logits[:, 0]) / 0.7 + 0.3
    for size in (1, 2, 7):
        for part in (slice(start, start + size) for start in range(len(IMAGES) - size + 1)):
            probability = session.run(["probabilities"], {"images": IMAGES[part]})[0][:, 1].astype(np.float64)
            assert np.abs(logit(probability) - expected[part]).max() < 1e-4


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_space_to_depth_is_the_same_function(name: str) -> None:
    _, network = export(name)
    blocks = surgery.space_to_depth(network)
    assert "SpaceToDepth" in {node.op_type for node in blocks.graph.node}
    pixels = {surgery.INPUT: np.random.default_rng(0).normal(0, 60, (2, 1, SIZE, SIZE)).astype(np.float32)}
    before, after = (inference.session_of(model).run(surgery.MAPS, pixels) for model in (network, blocks))
    for expected, found in zip(before, after, strict=True):
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_map_is_the_evidence() -> None:
    _, model = served("tf_efficientnet_lite0")
    probabilities, heatmaps, _ = run(model)
    assert np.abs(expit(heatmaps.mean((1, 2)) + assembly.calibration(model)[1]) - probabilities[:, 1]).max() < 1e-5


def test_the_order_of_the_labels_is_kept() -> None:
    network = parser.parse_model(NETWORK)
    models = [assembly.assemble(network, SIZE, np.ones(4), 0.2, ["A", "B"], positive) for positive in ("A", "B")]
    first, second = (run(model)[0] for model in models)
    assert np.array_equal(first, second[:, ::-1]) and first[0, 0] != first[0, 1]


def test_the_resize_is_torchs_and_pillows_but_for_its_rounding() -> None:
    text = assembly.PREPROCESSING.format(ir=assembly.IR_VERSION, opset=assembly.OPSET, size=SIZE, mean=255 * MEAN)
    for image, found in zip(IMAGES, run(parser.parse_model(text))[0][:, 0] + 255 * MEAN, strict=True):
        tensor = torch.from_numpy(image.astype(np.float32))[None, None]
        torchs = nn.functional.interpolate(tensor, (SIZE, SIZE), mode="bilinear", antialias=True)[0, 0].numpy()
        pillows = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR), dtype=float)
        assert np.abs(found - torchs).max() < 0.01
        assert np.abs(found - pillows).max() <= 1


def test_the_novelty_features_are_the_means_of_two_depths() -> None:
    network, model = served("tf_efficientnet_lite0")
    found = run(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]))[-1].reshape(len(IMAGES), -1)
    with torch.inference_mode():
        middle, last = network.feature_maps(tensors())
        quarters = nn.functional.adaptive_avg_pool2d(middle, 2)
        expected = torch.cat([quarters.flatten(1), last.mean((2, 3))], 1).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("count", [10, 64, 65, 66, 500])
def test_novelty_is_about_the_root_of_the_dimension_however_few_the_images(count: int) -> None:
    white = assembly.whiten(np.random.default_rng(0).normal(0, 3, (count, 128)), 100)
    deviations = np.random.default_rng(1).normal(0, 3, (50, 128)) - white.mean
    explained = np.linalg.norm(deviations @ white.components.T, axis=1)
    distances = np.sqrt(np.linalg.norm(white.scale * deviations, axis=1) ** 2 - explained**2)
    assert 0.5 < np.median(distances) / np.sqrt(128) < 2


def test_novelty_is_the_mahalanobis_distance() -> None:
    scale = np.repeat([3.0, 1.0], [4, 4])  # the middle features are three times as large
    features = np.random.default_rng(0).normal(0, scale, (2000, 8))  # fewer would not give PCA the likeliest noise
    model = assembly.assemble(parser.parse_model(NETWORK), SIZE, np.ones(4), 0.2, ["NORMAL", "PNEUMONIA"], "PNEUMONIA")
    assembly.set_novelty(model, assembly.whiten(features, 4))
    *_, novelty, found = run(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]))
    block_scale = np.repeat([features[:, :4].var(0).mean(), features[:, 4:].var(0).mean()], 4) ** -0.5
    pca = PCA(3, svd_solver="full").fit(features * block_scale)
    deviations = found.reshape(len(IMAGES), 8) * block_scale - pca.mean_
    assert np.allclose(novelty, np.sqrt(np.einsum("ni,ij,nj->n", deviations, pca.get_precision(), deviations)), rtol=1e-4)


def test_the_file_says_what_it_is_and_nothing_of_this_machine_and_has_nothing_that_need_not_run() -> None:
    _, model = served("tf_efficientnet_lite0")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["labels"] == "NORMAL,PNEUMONIA" and "Not a medical device" in properties["disclaimer"]
    texts = onnx.ModelProto()
    texts.CopyFrom(model)
    del texts.graph.initializer[:]  # weights may hold any bytes
    assert b".py" not in texts.SerializeToString() and b"site-packages" not in texts.SerializeToString()
    needless = {"BatchNormalization", "Transpose", "Identity", "Shape", "Gather", "ReduceMean"}
    assert needless.isdisjoint(node.op_type for node in model.graph.node)

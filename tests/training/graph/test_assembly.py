"""The exported graph against torch, Pillow and its own definition."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import parser
from PIL import Image
from sklearn.decomposition import PCA
from torch import nn

from tests.conftest import grey
from tests.training.conftest import SIZE, Export
from training.data import batches
from training.data.batches import MEAN
from training.graph import assembly, inference, surgery
from training.network.backbone import Network

SIZES = [(200, 300), (301, 64), (95, 97), (640, 480), (97, 40), (96, 97), (1024, 700)]  # width, height
IMAGES = [grey(*size, seed) for seed, size in enumerate(SIZES)]
LABELS = ["NORMAL", "PNEUMONIA"]
MANY = 2000  # images, more than features: with fewer, scikit-learn's noise is not the maximum of the likelihood

GreyImage = npt.NDArray[np.uint8]


def run(model: onnx.ModelProto, images: Sequence[GreyImage]) -> list[npt.NDArray[np.float32]]:
    return list(inference.session_of(model).run(None, {"images": list(images)}))


def served(export: Export, name: str) -> tuple[Network, onnx.ModelProto]:
    network, exported = export(name)
    weight = (network.head.weight[1] - network.head.weight[0]).detach().numpy()
    bias = (network.head.bias[1] - network.head.bias[0]).item()
    return network, assembly.assemble(exported, SIZE, weight, bias, LABELS, "PNEUMONIA")


@pytest.fixture(scope="module")
def made(export: Export) -> tuple[Network, onnx.ModelProto]:
    return served(export, "mobilenet_v2")


def tensors(images: Sequence[GreyImage]) -> torch.Tensor:
    transform = batches.plain(SIZE)
    return torch.stack([transform(torch.from_numpy(image.astype(np.float32))[None] / 255) for image in images])


def torch_logits(network: Network, images: Sequence[GreyImage]) -> npt.NDArray[np.float64]:
    with torch.inference_mode():
        logits = network(tensors(images)).double().numpy()
    return np.asarray(logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_torch_and_onnx_agree_on_the_calibrated_logit(made: tuple[Network, onnx.ModelProto], batch_size: int) -> None:
    network, model = made
    calibrated = onnx.ModelProto.FromString(model.SerializeToString())
    _, bias = assembly.calibration(model)
    assembly.set_calibration(calibrated, temperature=0.7, bias=bias / 0.7 + 0.3)
    for start in range(0, len(IMAGES) - batch_size + 1):
        images = IMAGES[start : start + batch_size]
        probability = run(calibrated, images)[0][:, 1].astype(np.float64)
        logit = np.log(probability / (1 - probability))
        assert np.abs(logit - (torch_logits(network, images) / 0.7 + 0.3)).max() < 1e-4


@pytest.mark.parametrize("name", ["resnet18", pytest.param("densenet121", marks=pytest.mark.torture)])
def test_the_other_backbones_agree_too(export: Export, name: str) -> None:
    network, model = served(export, name)
    probability = run(model, IMAGES)[0][:, 1].astype(np.float64)
    assert np.abs(np.log(probability / (1 - probability)) - torch_logits(network, IMAGES)).max() < 1e-4


def test_the_map_is_the_evidence(made: tuple[Network, onnx.ModelProto]) -> None:
    probabilities, heatmaps, _ = run(made[1], IMAGES)
    logit = heatmaps.astype(np.float64).mean((1, 2)) + assembly.calibration(made[1])[1]
    assert np.abs(1 / (1 + np.exp(-logit)) - probabilities[:, 1]).max() < 1e-5


NETWORK = """
<ir_version: 10, opset_import: ["": 18]>
network (float[N, 1, 96, 96] pixels) => (float[N, 1, 6, 6] middle_features, float[N, 4, 96, 96] features) {
  features = Concat <axis = 1> (pixels, pixels, pixels, pixels)
  middle_features = AveragePool <kernel_shape = [16, 16], strides = [16, 16]> (pixels)
}
"""


def test_the_novelty_features_are_the_means_of_two_depths(made: tuple[Network, onnx.ModelProto]) -> None:
    network, model = made
    found = run(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]), IMAGES)[-1].reshape(len(IMAGES), -1)
    with torch.inference_mode():
        middle, last = network.feature_maps(tensors(IMAGES))
        quarters = nn.functional.adaptive_avg_pool2d(middle, 2)
        expected = torch.cat([quarters.flatten(1), last.mean((2, 3))], 1).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_the_order_of_the_labels_is_kept() -> None:
    first, second = (
        run(assembly.assemble(parser.parse_model(NETWORK), SIZE, np.ones(4), 0.2, ["A", "B"], positive), IMAGES[:1])[0]
        for positive in ("A", "B")
    )
    assert np.array_equal(first, second[:, ::-1])
    assert first[0, 0] != first[0, 1]


def squares(images: Sequence[GreyImage]) -> npt.NDArray[np.float64]:
    """GreyImage levels that the graph's preprocessing gives the network, their mean added again."""
    text = assembly.PREPROCESSING.format(ir=assembly.IR_VERSION, opset=assembly.OPSET, size=SIZE, mean=255 * MEAN)
    pixels = run(parser.parse_model(text), images)[0].astype(np.float64)
    return np.asarray(pixels[:, 0] + 255 * MEAN)


def test_the_resize_is_torchs() -> None:
    for image, found in zip(IMAGES, squares(IMAGES), strict=True):
        tensor = torch.from_numpy(image.astype(np.float32))[None, None]
        expected = nn.functional.interpolate(tensor, (SIZE, SIZE), mode="bilinear", antialias=True)[0, 0].numpy()
        assert np.abs(found - expected).max() < 0.01


def test_the_resize_is_pillows_but_for_its_rounding() -> None:
    for image, found in zip(IMAGES, squares(IMAGES), strict=True):
        expected = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR), dtype=float)
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("count", [10, 64, 65, 66, 500])
def test_novelty_is_about_the_root_of_the_dimension_however_few_the_images(count: int) -> None:
    features = np.random.default_rng(0).normal(0, 3, (count, 128))
    white = assembly.whiten(features, 100)
    deviations = np.random.default_rng(1).normal(0, 3, (50, 128)) - white.mean
    explained = np.linalg.norm(deviations @ white.components.T, axis=1)
    distances = np.sqrt(np.linalg.norm(white.scale * deviations, axis=1) ** 2 - explained**2)
    assert 0.5 < np.median(distances) / np.sqrt(128) < 2


def test_novelty_is_the_mahalanobis_distance() -> None:
    scale = np.repeat([3.0, 1.0], [4, 4])  # the middle features are three times as large
    features = np.random.default_rng(0).normal(0, scale, (MANY, 8))
    model = assembly.assemble(parser.parse_model(NETWORK), SIZE, np.ones(4), 0.2, LABELS, "PNEUMONIA")
    assembly.set_novelty(model, assembly.whiten(features, 4))
    *_, novelty, found = run(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]), IMAGES)
    block_scale = np.repeat([features[:, :4].var(0).mean(), features[:, 4:].var(0).mean()], 4) ** -0.5
    pca = PCA(3, svd_solver="full").fit(features * block_scale)
    deviations = found.reshape(len(IMAGES), 8).astype(np.float64) * block_scale - pca.mean_
    expected = np.sqrt(np.einsum("ni,ij,nj->n", deviations, pca.get_precision(), deviations))
    assert np.allclose(novelty, expected, rtol=1e-4)


def test_the_file_says_what_it_is_and_nothing_of_this_machine(made: tuple[Network, onnx.ModelProto]) -> None:
    properties = {entry.key: entry.value for entry in made[1].metadata_props}
    assert properties["labels"] == "NORMAL,PNEUMONIA"
    assert "Not a medical device" in properties["disclaimer"]
    content = made[1].SerializeToString()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_nothing_is_left_that_need_not_run(made: tuple[Network, onnx.ModelProto]) -> None:
    operators = {node.op_type for node in made[1].graph.node}
    assert "BatchNormalization" not in operators
    assert operators.isdisjoint({"Transpose", "Identity", "Shape", "Gather", "ReduceMean"})

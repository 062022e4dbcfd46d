"""Two checks of the heat-maps: whether they depend on the learned weights, and how much evidence lies where the lungs are.

The first is the randomisation test of Adebayo et al. 2018 (arXiv 1810.03292): weights are replaced by noise, from the output
downwards. Maps that stayed the same would show the image, not the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from scipy.stats import spearmanr

from service.model.classifier import Classifier, GreyImage
from training.graph import inference

Maps = npt.NDArray[np.floating]  # [N, h, w]

PARTS = {"the head": 0.0, "the head and the upper half": 0.5, "all": 1.0}  # share of the network's layers


def check(folder: Path, classifier: Classifier, images: Sequence[GreyImage]) -> dict[str, Any]:
    """The figures for `model.json`. `randomised`: rank correlation of maps before and after, mean over images."""
    maps, after = inference.classify_images(classifier, images).heatmaps, {}
    for name, share in PARTS.items():
        noise_maps = inference.classify_images(randomised(classifier, folder, share), images).heatmaps
        after[name] = float(np.mean(correlations(maps, noise_maps)))
    return {
        "images": len(images),
        "randomised": after,
        "border": {"share": border_share(maps), "if_even": border_share(np.ones_like(maps))},
        "outside_the_middle": {"share": outside_share(maps), "if_even": outside_share(np.ones_like(maps))},
    }


def randomised(classifier: Classifier, folder: Path, share: float) -> Classifier:
    """A copy whose head, and upper `share` of the network's convolutions, hold normal noise of the same deviation."""
    artefact = classifier.artefact
    model = onnx.load(folder / artefact.description.variants[artefact.variant].file)
    rng = np.random.default_rng(0)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = [node.input[1] for node in model.graph.node if node.op_type == "Conv" and not node.input[1].startswith("novelty")]
    layers = [name for name in weights if name.startswith("network/")]
    upper = layers[len(layers) - round(share * len(layers)) :]
    for name in ["evidence_weight", *upper]:
        values = numpy_helper.to_array(tensors[name])
        noise = rng.normal(0, values.std(), values.shape).astype(values.dtype)
        tensors[name].CopyFrom(numpy_helper.from_array(noise, name))
    return Classifier(msgspec.structs.replace(artefact, graph=model.SerializeToString()))


def correlations(first: Maps, second: Maps) -> list[float]:
    """Spearman's correlation of each pair of maps; 0 where a map is constant."""
    return [
        0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a.ravel(), b.ravel()).statistic)
        for a, b in zip(first, second, strict=True)
    ]


def border_share(maps: Maps) -> float:
    """The share of all |evidence| that lies on the outermost ring of cells."""
    return _share_outside(maps, 1)


def outside_share(maps: Maps) -> float:
    """The share of all |evidence| that lies outside the middle half of each side."""
    return _share_outside(maps, maps.shape[1] // 4 + (maps.shape[1] % 4 > 1))


def _share_outside(maps: Maps, margin: int) -> float:
    total = np.abs(maps).sum((1, 2))
    middle = np.abs(maps[:, margin:-margin, margin:-margin]).sum((1, 2))
    return float(np.mean(1 - middle / np.maximum(total, 1e-12)))

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from tests.conftest import DEFAULT_MODEL, grey
from tests.training.conftest import SIZE, Export
from training.graph import inference, surgery


def maps(network: onnx.ModelProto) -> list[npt.NDArray[np.float32]]:
    pixels = np.random.default_rng(0).normal(0, 60, (2, 1, SIZE, SIZE)).astype(np.float32)
    return list(inference.session_of(network).run(surgery.MAPS, {surgery.INPUT: pixels}))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_space_to_depth_is_the_same_function(export: Export, name: str) -> None:
    _, network = export(name)
    blocks = surgery.space_to_depth(network)
    assert {node.op_type for node in blocks.graph.node} > {"SpaceToDepth"}
    for expected, found in zip(maps(network), maps(blocks), strict=True):
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_network_put_back_gives_the_same_bits() -> None:
    model = onnx.load(DEFAULT_MODEL / "model.onnx")
    again = surgery.with_network(model, surgery.network_of(model))
    before, after = (inference.session_of(one).run(None, {"images": [grey(200, 300)]}) for one in (model, again))
    for expected, found in zip(before, after, strict=True):
        assert np.array_equal(found, expected)


def test_the_layers_have_the_names_that_torch_gives_them() -> None:
    network = surgery.network_of(onnx.load(DEFAULT_MODEL / "model.onnx"))
    names = [node.name for node in network.graph.node if node.op_type == "Conv"]
    assert names[:3] == ["features.0.0", "features.1.conv.0.0", "features.1.conv.1"]
    assert len(set(names)) == len(names) == 52

"""Starting weights: files as they are published, files that are something else, and a download without a connection."""

import io
import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from torch import nn

from tests.conftest import DEFAULT_MODEL
from training.config import Backbone, ConfigError
from training.network import backbone, weights
from training.vision import timm, torchvision

BEHIND_MODEL = {"mobilenetv2_100": "mobilenet_v2"}  # torchvision's name where it is another


def published(name: str) -> Any:  # Any: torchvision's models have no common type
    """torchvision's network `name`, of timm's names, with norms as after training: untrained ones would hide a mix-up."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, BEHIND_MODEL.get(name, name))().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_(0, 0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    return network


def features_of(network: Any, images: torch.Tensor) -> Any:  # Any: as above
    """torchvision's last feature maps."""
    if hasattr(network, "layer4"):
        return nn.Sequential(*list(network.children())[:-2])(images)
    maps = network.features(images)
    return torch.relu(maps) if isinstance(network, torchvision.models.DenseNet) else maps


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "resnet50", "densenet121"])
def test_torchvisions_state_dict_gives_torchvisions_features(name: str, tmp_path: Path) -> None:
    network, path = published(name), tmp_path / "published.pth"
    torch.save(network.state_dict(), path)
    features: Any = timm.create_model(name, num_classes=0).eval()
    weights.load(features, name, path)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(features.forward_features(images), features_of(network, images))


def test_a_state_dict_is_found_in_a_checkpoint_and_in_densenets_older_names(tmp_path: Path) -> None:
    tensors, path = published("densenet121").state_dict(), tmp_path / "old.pth"
    name = "features.denseblock1.denselayer1.norm2.weight"
    older = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in tensors.items()}
    assert older.keys() != tensors.keys()
    for content in (older, {"state_dict": older, "epoch": 3}, {"model": older}):
        for zipped in (True, False):  # PyTorch's two formats
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            features = timm.create_model("densenet121", num_classes=0)
            weights.load(features, "densenet121", path)
            assert torch.equal(features.state_dict()[name], tensors[name])


def bytes_of(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


SMALL = {"weight": torch.ones(300)}
UNUSABLE = [
    ("empty.pth", b"", "is empty; expected is a .safetensors file, or a .pth"),
    ("page.pth", b"<!DOCTYPE html>\n<title>", "is a text that begins with «<!DOCTYPE html>»"),
    ("image.pth", b"\x89PNG\r\n\x1a\n", "has no weights in it"),
    ("model.onnx", b"\x08\x0a\x12\x07pytorch", "is an ONNX graph, which cannot be trained"),
    ("half.pth", bytes_of(SMALL)[:600], "is damaged, or holds more than tensors"),
    (
        "code.pth",
        bytes_of(nn.Linear(2, 2)),
        "is damaged, or holds more than tensors, which could run code and is not read; fetch it again, or save its",
    ),
    ("list.pth", bytes_of([1, 2]), "holds no state dict"),
    ("other.pth", bytes_of(SMALL), "is for another network than resnet18: "),
    ("half.safetensors", (20).to_bytes(8, "little") + b'{"a": ', "is damaged or incomplete"),
]


@pytest.mark.parametrize(("name", "content", "words"), UNUSABLE, ids=[name for name, *_ in UNUSABLE])
def test_a_file_that_cannot_be_used_is_told_for_what_it_is(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{re.escape(name)}» {re.escape(words)}"):
        backbone.build(Backbone(name="resnet18", weights=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (DEFAULT_MODEL, "is a model folder, whose graph cannot be trained"),
        (DEFAULT_MODEL.parent, "is a folder"),
        (Path("/dev/null"), "is no file"),
        (Path("nothing.pth"), "No such file or directory; it is «imagenet»"),
    ],
)
def test_what_is_no_file_is_told_for_what_it_is(path: Path, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        weights.read(path)


def test_weights_that_cannot_be_downloaded_are_named_with_their_address_and_the_words_to_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    fetch = "fetch https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors "
    monkeypatch.delenv("TRAINING_WEIGHTS", raising=False)
    for words in ("--weights ", "WEIGHTS="):
        with pytest.raises(ConfigError, match=f"{fetch}.* begin again with {words}models/resnet18.safetensors"):
            backbone.build(Backbone(name="resnet18"))
        monkeypatch.setenv("TRAINING_WEIGHTS", "WEIGHTS=")  # as the Makefile and the container image do

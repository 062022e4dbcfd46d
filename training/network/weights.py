"""Starting weights of a backbone: what timm downloads, or a file that timm, torchvision or Hugging Face publish."""

import os
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from service.model import artefact
from training.config import ConfigError
from training.vision import timm, torchvision

FROM_NOTHING = """note: weights = none: the network begins from nothing. It needs many thousands of X-rays to learn what
      ImageNet weights bring along; with fewer, expect a far worse model."""
EXPECTED = "expected is a .safetensors file, or a .pth or .pt state dict as torchvision and timm publish them"
# What torch.load raises for a damaged file, or for one with more than tensors.
_BROKEN = (
    pickle.UnpicklingError, struct.error, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


def download(name: str, features: nn.Module) -> nn.Module:
    """The network `name` with ImageNet weights; `features` is the same without. Raises ConfigError, which says what to fetch
    from where, if they cannot be downloaded."""
    if not (url := _address(features)):
        raise ConfigError(f"backbone.weights = «imagenet»: timm has no weights for {name}; give a file, or «none»")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, SafetensorError) as error:
        option = os.environ.get("TRAINING_WEIGHTS", "--weights ")  # make and the container image set their own
        path = f"models/{name}{Path(url).suffix}"
        way = f"fetch {url} where there is a connection, save it here as {path}, and begin again with {option}{path}"
        why = " ".join(str(error).split())
        raise ConfigError(f"backbone.weights = «imagenet»: those of {name} cannot be downloaded; {way} ({why})") from error


def load(features: nn.Module, name: str, path: Path) -> None:
    """Loads the weights of a file into timm's network `name`, except for its classifier. Raises ConfigError if the file cannot
    be read, or if names or shapes differ."""
    classifier = features.pretrained_cfg["classifier"]  # type: ignore[index]  # a dict
    found = {key: value for key, value in read(path).items() if not key.startswith(f"{classifier}.")}
    found = _in_timms_names(found, features, name)
    shapes, known = ({key: value.shape for key, value in tensors.items()} for tensors in (found, features.state_dict()))
    wrong = sorted(key for key in shapes | known if shapes.get(key) != known.get(key) and "num_batches" not in key)
    if wrong:
        differ = f"{len(wrong)} tensors differ, such as {wrong[0]}"
        raise ConfigError(f"backbone.weights = «{path}» is for another network than {name}: {differ}")
    features.load_state_dict(found, strict=False)  # it may lack the number of batches, which nothing uses


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name. Raises ConfigError, which says what the file is, if it holds no weights."""
    start = _start(path)
    try:
        if start[8:9] == b"{":  # behind the length of this header
            return load_file(path)
        if start.startswith((b"PK\x03\x04", b"\x80")):  # PyTorch's two formats
            return _tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except SafetensorError as error:
        raise ConfigError(f"backbone.weights = «{path}» is damaged or incomplete ({error}); fetch it again") from error
    except _BROKEN as error:
        why = "is damaged, or holds more than tensors, which could run code and is not read"
        mend = "fetch it again, or save its state dict alone: torch.save(model.state_dict(), FILE)"
        raise ConfigError(f"backbone.weights = «{path}» {why}; {mend}") from error
    raise ConfigError(f"backbone.weights = «{path}» {_what_it_is(start, path)}; {EXPECTED}")


def _address(features: nn.Module) -> str | None:
    """Where timm downloads the weights from."""
    known: Mapping[str, str | None] = features.pretrained_cfg  # type: ignore[assignment]  # a dict
    if repository := known.get("hf_hub_id"):
        return f"https://huggingface.co/{repository}/resolve/main/{known.get('hf_hub_filename') or 'model.safetensors'}"
    return known.get("url") or None


def _start(path: Path) -> bytes:
    if (path / artefact.DESCRIPTION).exists():
        raise ConfigError(f"backbone.weights = «{path}» is a model folder, whose graph cannot be trained; {EXPECTED}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"backbone.weights = «{path}» is {'a folder' if path.is_dir() else 'no file'}; {EXPECTED}")
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        known = f"it is «imagenet» (a download), «none», or a file: {EXPECTED}"
        raise ConfigError(f"backbone.weights = «{path}»: {error.strerror}; {known}") from error


def _what_it_is(start: bytes, path: Path) -> str:
    if not start:
        return "is empty"
    if path.suffix == ".onnx":
        return "is an ONNX graph, which cannot be trained"
    text = start.decode("utf-8", "replace").splitlines()[0][:40]
    return f"is a text that begins with «{text}»" if text.isprintable() and "\ufffd" not in text else "has no weights in it"


def _tensors(loaded: object, path: Path) -> dict[str, torch.Tensor]:
    """The state dict, also out of a checkpoint that names it."""
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    tensors = {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ConfigError(f"backbone.weights = «{path}» holds no state dict (tensors by name); {EXPECTED}")
    return tensors


def _in_timms_names(found: dict[str, torch.Tensor], features: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """torchvision's names differ from timm's for two of its networks: MobileNetV2 has the same tensors in the same order, and
    DenseNet's published file writes `norm.1` for `norm1`."""
    if name == "mobilenetv2_100" and "features.0.0.weight" in found:
        with torch.device("meta"):
            theirs = [key for key in torchvision.models.mobilenet_v2().state_dict() if key.startswith("features.")]
        names = dict(zip(theirs, features.state_dict(), strict=True))
        return {names.get(key, key): value for key, value in found.items()}
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key): value for key, value in found.items()}

"""Every choice of a training run, read from one TOML file; the resolved form is saved with the run.

Paths that differ from machine to machine (`data.folder`, `backbone.weights`) may also come from the command line.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from service.errors import MedXferError

Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]


class ConfigError(MedXferError):
    pass


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and a misspelt key is refused."""


class Data(Section, frozen=True, kw_only=True):
    """`folds`: parts that the patients are cut into; one is validation and, without a `test` folder, one is test.
    `shifted_fraction`: share of each series, its lowest numbers, held out as the shifted validation.
    `source`: what the card says of the data: their name, licence, citation."""

    folder: str = ""
    source: str = ""
    positive: str = "PNEUMONIA"
    folds: Annotated[int, Meta(ge=3)] = 10
    shifted_fraction: Annotated[float, Meta(gt=0, le=0.5)] = 0.1


class Backbone(Section, frozen=True, kw_only=True):
    """`weights`: `imagenet` (torchvision downloads them), `none`, or a .safetensors file in torchvision's names."""

    name: Literal["resnet18", "resnet50", "mobilenet_v2", "densenet121"] = "resnet18"
    weights: str = "imagenet"
    image_size: Annotated[int, Meta(ge=32, le=1024, multiple_of=32)] = 224


class Augment(Section, frozen=True, kw_only=True):
    """Random crops of `crop_area` of the image (min, max), mirroring, brightness and contrast ± `jitter`."""

    crop_area: tuple[Positive, Annotated[float, Meta(gt=0, le=1)]] = (0.08, 1.0)
    jitter: Fraction = 0.3


class Fit(Section, frozen=True, kw_only=True):
    """`learning_rate`: the peak, at the top of the network; the lowest layer gets `lowest_layer_rate` times as much.
    `epochs` = 0 keeps the backbone frozen. `ema_decay`: of the weight average, per step."""

    epochs: Annotated[int, Meta(ge=0)] = 12
    batch_size: Annotated[int, Meta(ge=2)] = 32
    learning_rate: Positive = 5e-4
    lowest_layer_rate: Annotated[float, Meta(gt=0, le=1)] = 0.2
    weight_decay: Annotated[float, Meta(ge=0)] = 0.01
    warmup_fraction: Fraction = 0.05
    ema_decay: Fraction = 0.995
    workers: Annotated[int, Meta(ge=0)] = 2


class Calibrate(Section, frozen=True, kw_only=True):
    """The zone's edges keep sensitivity and specificity at least at `target`, by a one-sided 95 % lower bound."""

    target: Annotated[float, Meta(gt=0.5, lt=1)] = 0.99


class Config(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "medxfer"
    seed: int = 0
    data: Data = field(default_factory=Data)
    backbone: Backbone = field(default_factory=Backbone)
    augment: Augment = field(default_factory=Augment)
    fit: Fit = field(default_factory=Fit)
    calibrate: Calibrate = field(default_factory=Calibrate)


def load_config(path: Path) -> Config:
    """Raises ConfigError: no such file, not TOML, an unknown key, or a value out of its range."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Config)
    except OSError as error:
        raise ConfigError(f"configuration {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}: {error}; training/config.py explains every key") from error


def with_paths(config: Config, *, folder: Path | None = None, weights: str | None = None) -> Config:
    """The same choices, on another machine's paths."""
    data, backbone = config.data, config.backbone
    if folder is not None:
        data = msgspec.structs.replace(data, folder=str(folder))
    if weights is not None:
        backbone = msgspec.structs.replace(backbone, weights=weights)
    return msgspec.structs.replace(config, data=data, backbone=backbone)


def save_config(config: Config, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def read_saved(path: Path) -> Config:
    """Raises ConfigError: the run folder was not made by `train`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: not a run folder's configuration ({error})") from error

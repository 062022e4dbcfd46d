"""The configuration of a training run: every key of its TOML file, with type, range and default.

The resolved configuration is saved with the run. The command line can set `name`, `data.folder`, `data.positive`,
`data.source`, `data.elsewhere`, `backbone.weights` and `fit.device`."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from service.errors import MedXferError
from service.images import limits

SAVED = "config.json"  # in a run folder
NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"  # part of addresses
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Fraction = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Aspect = Annotated[float, Meta(ge=0.25, le=4)]
Count = Annotated[int, Meta(ge=1)]
Device = Literal["auto", "cpu", "cuda"]
# Properties of an image file that reach the network, though they are no anatomy; see `data/properties.py`. All others are
# removed where every image is compressed again, and what a file says of itself never reaches the network.
Property = Literal[
    "width", "height", "short_side", "aspect", "mean", "contrast", "sharpness", "dark_border", "black", "white", "corner_edges"
]


class ConfigError(MedXferError): ...


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True): ...


class Data(Section, frozen=True, kw_only=True):
    folder: str = ""  # see `data/layouts.py`
    source: str = ""  # name, licence and citation of the data, for the model card
    properties: str = ""  # a CSV file with further properties of the image files, joined by its column `file`; see `audit`
    elsewhere: dict[str, str] = {}  # other hospitals' images, by name: a folder or a table, as `folder` and `table`
    ages: tuple[float, float] | None = None  # of the patients, in years; the service warns about DICOM files of others
    limits: tuple[str, ...] = ()  # what is known of the data that limits the model's use: a sentence each, for the model card
    # A CSV or Parquet file that says of each image its label, patient or split, instead of folders and names. Empty:
    # `labels.csv` in the folder, if there is one. `columns`: their names in it, as {label = "Finding"}. See `data/tables.py`.
    table: str = ""
    columns: dict[str, str] = {}
    # The positive labels; all others are negative. Empty: PNEUMONIA, where there is just one other. `names`: those of the two
    # answers, the negative one first; by default, the labels'.
    positive: str | tuple[str, ...] = ()
    names: tuple[str, str] | None = None
    # A regular expression that finds the patient in an image's path, as `(?P<patient>study\d+)`; see `data/patients.py`.
    patient: str = ""
    # Number of parts that the patients are cut into. One is validation; without a `test` folder, another one is test.
    folds: Annotated[int, Meta(ge=3)] = 10
    # The share of each series, its lowest numbers, that becomes the shifted validation; and a series that does so as a whole,
    # such as `NORMAL2-IM`.
    shifted_fraction: Annotated[float, Meta(gt=0, le=0.5)] = 0.1
    shifted_series: str = ""

    def __post_init__(self) -> None:
        if self.names and self.names[0] == self.names[1]:
            raise ValueError(f"names = {list(self.names)}: the two answers have the same name")
        try:
            groups = re.compile(self.patient).groupindex
        except re.error as error:
            raise ValueError(f"patient = «{self.patient}» is no regular expression: {error}") from error
        if self.patient and "patient" not in groups:
            raise ValueError(f"patient = «{self.patient}» has no group (?P<patient>…)")


class Backbone(Section, frozen=True, kw_only=True):
    name: str = "tf_efficientnet_lite0"  # in timm: a convolutional network; see `network/backbone.py`
    weights: str = "imagenet"  # which timm downloads; or `none`, or a file of timm's or torchvision's; see `network/weights.py`
    image_size: Annotated[int, Meta(ge=64, multiple_of=32)] = 224  # side of the square that images are resized to; at most 448
    # false leaves out the last 1 × 1 convolution, where timm's network ends with one, as EfficientNet and MobileNetV2 do.
    conv_head: bool = True

    def __post_init__(self) -> None:
        if self.image_size > limits.ENOUGH:
            why = "to which large images are shrunk while they are decoded: a larger square would only be blown up"
            raise ValueError(f"image_size = {self.image_size}: at most {limits.ENOUGH}, the short side {why}")


class Augment(Section, frozen=True, kw_only=True):
    """Random crops, mirroring, and changes of brightness, contrast and texture."""

    crop_area: tuple[Share, Share] = (0.08, 1.0)  # least and greatest share of the image's area
    whole: Probability = 0.0  # share of the images that are not cropped, as none is when the model serves
    crop_aspect: tuple[Aspect, Aspect] = (0.75, 1.333)  # of width to height, before the crop is stretched to the square
    jitter: Fraction = 0.3  # greatest change of brightness and contrast
    gamma: Fraction = 0.0  # greatest change of the exponent's logarithm
    texture: Probability = 0.4  # share of the crops that are blurred, sharpened or made noisy
    surroundings: Probability = 0.0  # share of the crops that get another image's surroundings

    def __post_init__(self) -> None:
        for name in ("crop_area", "crop_aspect"):
            least, greatest = getattr(self, name)
            if least > greatest:
                raise ValueError(f"{name} = {[least, greatest]}: the minimum is greater than the maximum")


class Fit(Section, frozen=True, kw_only=True):
    seeds: Count = 1  # number of repetitions; the best one by validation is exported
    views: Annotated[int, Meta(ge=0)] = 0  # augmented views of each image that the head is also fitted on
    epochs: Annotated[int, Meta(ge=0)] = 12  # the most; with 0 the backbone stays frozen
    patience: Count = 5  # epochs without an improvement after which fitting ends
    batch_size: Annotated[int, Meta(ge=2, le=4096)] = 32
    learning_rate: Share = 5e-4  # the peak, for the head
    lowest_layer_rate: Share = 0.2  # times `learning_rate`: that of the lowest layer
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 0.01
    warmup_fraction: Fraction = 0.05  # share of the steps in which the learning rate rises
    ema_decay: Fraction = 0.995  # of the weight average, per step; smaller in the first steps
    match: bool = False  # draws images so that no property of the files that reaches the network tells the label; see `matched`
    # Keeps the means and deviations of the pretrained batch norms. EfficientNet-Lite0's seem to differ much from those of
    # X-rays: without this, the first epochs were far worse than the head alone. Not yet compared under equal settings.
    frozen_norm: bool = False
    frozen_stages: Annotated[int, Meta(ge=0)] = 0  # number of the lowest stages that keep the borrowed weights; the stem is one
    # Weight of a loss that grows with the share of the evidence outside the middle of the image, above all on its border.
    outside: Annotated[float, Meta(ge=0, le=10)] = 0.0
    ignore: tuple[Property, ...] = ()  # the finished head is turned so that its logit follows these half as much within a label
    # Weight of the loss of an auxiliary head, dropped afterwards, that tells label and cause (bacteria, virus).
    causes: Annotated[float, Meta(ge=0, le=10)] = 0.5
    # Processes that decode and augment; by default a quarter of the CPUs, since the network uses all of them. With a GPU, more
    # are better. The random augmentation depends on their number, so the run's configuration keeps it.
    workers: Annotated[int, Meta(ge=0, le=256)] = CPUS // 4
    device: Device = "auto"  # a GPU if there is one; `cpu` and `cuda` insist on theirs


class Calibrate(Section, frozen=True, kw_only=True):
    # Sensitivity and specificity outside the uncertain zone, as one-sided 95 % lower bounds. 99 images of a label can show it.
    target: Annotated[float, Meta(gt=0.5, lt=1)] = 0.97


class Config(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=f"^{NAME}$")] = "medxfer"
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    data: Data = Data()
    backbone: Backbone = Backbone()
    augment: Augment = Augment()
    fit: Fit = Fit()
    calibrate: Calibrate = Calibrate()
    int8: bool = True  # false leaves the int8 variant out; `train --resume RUN --from quantise` makes it later


def with_paths(
    config: Config, *, folder: Path | None = None, weights: str | None = None, elsewhere: dict[str, str] | None = None
) -> Config:
    """The same configuration with other paths. `folder` may be a table, whose folder then has the images."""
    data = config.data if folder is None else data_at(folder, config.data)
    data = data if elsewhere is None else replace(data, elsewhere=elsewhere)
    backbone = config.backbone if weights is None else replace(config.backbone, weights=weights)
    return replace(config, data=data, backbone=backbone)


def data_at(path: Path, data: Data | None = None) -> Data:
    """The same choices, by default those of no configuration, for another folder, or for a table and the folder it lies in."""
    data = data or Data()
    return replace(data, folder=str(path.parent), table=str(path)) if path.is_file() else replace(data, folder=str(path))


def with_names(config: Config, *, name: str | None = None, positive: str | None = None, source: str | None = None) -> Config:
    """The same configuration with another name of the model, positive label or labels, or source of the data."""
    given = {key: value for key, value in {"positive": positive, "source": source}.items() if value is not None}
    return replace(config, name=name or config.name, data=replace(config.data, **given))


def with_device(config: Config, device: Device | None) -> Config:
    """The same configuration on another device, or on its own."""
    return replace(config, fit=replace(config.fit, device=device)) if device else config


def read_saved(path: Path) -> Config:
    """Reads the configuration of a run. Raises ConfigError if this is no run folder."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: not a run folder's configuration ({error})") from error

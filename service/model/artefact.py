"""Reads a model folder. Every file is compared with its hash in `SHA256SUMS` before it is used.

model.json     what programs need
model.onnx     the graph, fp32; other variants beside it
SHA256SUMS     hashes of model.json and of every variant, in the format of sha256sum"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from service.errors import ArtefactError

SCHEMA_VERSION = 1
DESCRIPTION = "model.json"
SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  ([!-~]+)\n")
_LINES = re.compile(f"({_LINE.pattern})+")

Probability = Annotated[float, Meta(ge=0, le=1)]


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX file. Its logit for the positive label is mean(evidence) / temperature + bias. `kept_in_fp32` names the layers
    that are not quantised. `gate` holds, by split, how far its answers are from those of the fp32 variant."""

    file: str
    bytes: int
    temperature: Annotated[float, Meta(gt=0)]
    bias: float
    kept_in_fp32: list[str] = []
    gate: dict[str, dict[str, float]] = {}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of the positive label's probability. Between `screening` and `rule_in` an answer is `uncertain`:
    every one with 0 and 1, where too few images were seen to tell when the model is right."""

    screening: Annotated[float, Meta(ge=0, le=0.5)]
    balanced: Probability
    rule_in: Annotated[float, Meta(ge=0.5, le=1)]

    @property
    def has_zone(self) -> bool:
        return self.screening < self.rule_in

    def is_uncertain(self, probability: float) -> bool:
        return self.screening <= probability and (probability < self.rule_in or self.rule_in == 1)  # float32 rounds up to 1


class NoveltyCutoffs(msgspec.Struct, frozen=True, kw_only=True):
    """The distances from which an image counts as `unusual` and as `foreign`."""

    unusual: float
    foreign: float

    def level(self, value: float) -> Literal["typical", "unusual", "foreign"]:
        if value >= self.foreign:
            return "foreign"
        return "unusual" if value >= self.unusual else "typical"


class HeatmapFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`grid` is (rows, columns). A logit of `scale` is drawn at full strength, the same for every image."""

    grid: tuple[int, int]
    scale: Annotated[float, Meta(gt=0)]


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """The probability that each variant must answer for `classifier.self_test_image(height, width)`, and the tolerance. Another
    CPU adds float32 in another order, and rounding to int8 makes such differences larger."""

    height: Annotated[int, Meta(ge=32, le=1024)]
    width: Annotated[int, Meta(ge=32, le=1024)]
    formula: str
    probability: dict[str, Probability]
    tolerance: dict[str, Annotated[float, Meta(ge=0, le=0.01)]]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """`model.json`. `labels` are in the order of the output. `prior` is the share of the positive label that the probabilities
    assume. `ages` is the range in years of the people on the training images, if known."""

    schema_version: int
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]  # part of URLs
    labels: Annotated[list[str], Meta(min_length=2, max_length=2)]
    positive: str
    prior: Probability
    thresholds: Thresholds
    novelty: NoveltyCutoffs
    heatmap: HeatmapFormat
    variants: dict[str, Variant]
    self_test: SelfTest
    backbone: str
    weights: str
    image_size: int
    created: str
    ages: tuple[float, float] | None = None
    data: dict[str, Any] = {}  # Any: for people and reports; the service does not read it
    metrics: dict[str, Any] = {}  # Any: as above
    versions: dict[str, str] = {}


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of a verified model folder. `graph` holds the very bytes that were hashed."""

    folder: Path
    description: Description
    variant: str
    sha256: str
    description_sha256: str
    graph: bytes


def read_artefact(folder: Path, variant: str) -> Artefact:
    """Verifies a model folder with all its variants, and reads one of them. Raises ArtefactError if a file is missing, differs
    from its hash, or is malformed, or if there is no such variant."""
    description, sums = read_description(folder), _read_sums(folder)
    graphs = {name: _read_verified(folder, found.file, sums) for name, found in description.variants.items()}
    if variant not in graphs:
        raise ArtefactError(f"{folder}: has no variant «{variant}»; it has {', '.join(graphs)}")
    hashes = {"sha256": sums[description.variants[variant].file], "description_sha256": sums[DESCRIPTION]}
    return Artefact(folder=folder, description=description, variant=variant, graph=graphs[variant], **hashes)


def read_description(folder: Path) -> Description:
    """The verified `model.json` of a model folder. Raises ArtefactError as `read_artefact` does."""
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder; a model folder is what training writes, such as models/default")
    return decode_description(_read_verified(folder, DESCRIPTION, _read_sums(folder)), folder / DESCRIPTION)


def decode_description(content: bytes, where: Path) -> Description:
    """Decodes `model.json`. Raises ArtefactError if it has another version, or contradicts itself."""
    try:
        description = msgspec.json.decode(content, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"{where}: {error}") from error
    if description.schema_version != SCHEMA_VERSION:
        raise ArtefactError(f"{where}: schema_version is {description.schema_version}, this program reads {SCHEMA_VERSION}")
    if description.positive not in description.labels:
        raise ArtefactError(f"{where}: positive is «{description.positive}», not one of {description.labels}")
    return description


def write_sums(folder: Path, files: list[str]) -> None:
    """Writes `SHA256SUMS` for these files of the folder."""
    lines = [f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in sorted(files)]
    (folder / SUMS).write_text("".join(lines))


def _read_sums(folder: Path) -> dict[str, str]:
    content = _read(folder / SUMS).decode("latin-1")
    if not _LINES.fullmatch(content):
        raise ArtefactError(f"{folder / SUMS}: expected lines of «hash  file»")
    return {file: digest for digest, file in _LINE.findall(content)}


def _read_verified(folder: Path, file: str, sums: dict[str, str]) -> bytes:
    if file not in sums:
        raise ArtefactError(f"{folder / SUMS}: has no line for {file}")
    content = _read(folder / file)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sums[file]:
        raise ArtefactError(f"{folder / file}: its SHA-256 is {digest[:12]}…, {SUMS} says {sums[file][:12]}…")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror}") from error

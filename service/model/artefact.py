"""Reads a model folder, and trusts nothing in it that `SHA256SUMS` does not vouch for.

model.json     what programs need
model.onnx     the graph, fp32; other variants beside it
SHA256SUMS     of model.json and of every variant, in the format of sha256sum
"""

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
    """One ONNX file. Its logit for the positive label is mean(evidence) / temperature + bias. `kept_in_fp32`: layers of a
    quantised network that are not. `gate`: by split, how far its answers are from those of the fp32 variant."""

    file: str
    bytes: int
    temperature: Annotated[float, Meta(gt=0)]
    bias: float
    kept_in_fp32: list[str] = []
    gate: dict[str, dict[str, float]] = {}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Of the positive label's probability. Below `screening` and above `rule_in` the model is sure enough; between
    them it is `uncertain`."""

    screening: Annotated[float, Meta(ge=0, le=0.5)]
    balanced: Probability
    rule_in: Annotated[float, Meta(ge=0.5, le=1)]

    def is_uncertain(self, probability: float) -> bool:
        """Whether the model is `uncertain`."""
        return self.screening <= probability < self.rule_in


class NoveltyCutoffs(msgspec.Struct, frozen=True, kw_only=True):
    """Distances from which an image is `unusual`, and `foreign`."""

    unusual: float
    foreign: float

    def level(self, value: float) -> Literal["typical", "unusual", "foreign"]:
        if value >= self.foreign:
            return "foreign"
        return "unusual" if value >= self.unusual else "typical"


class Heatmap(msgspec.Struct, frozen=True, kw_only=True):
    """`grid`: rows and columns. `scale`: logits that are drawn at full strength, the same for every image."""

    grid: tuple[int, int]
    scale: Annotated[float, Meta(gt=0)]


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """What each variant must answer for `classifier.self_test_image(height, width)`, and how nearly: another CPU adds float32
    in another order, and where the sum is then rounded to int8 that difference grows."""

    height: Annotated[int, Meta(ge=32, le=1024)]
    width: Annotated[int, Meta(ge=32, le=1024)]
    formula: str
    probability: dict[str, Probability]
    tolerance: dict[str, Annotated[float, Meta(ge=0, le=0.01)]]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """`model.json`. `labels`: in the order of the output. `prior`: of the positive label, that the probabilities assume.
    `ages`: years, from and to, of the people it learned from, where that is known."""

    schema_version: int
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]  # stands in addresses
    labels: Annotated[list[str], Meta(min_length=2, max_length=2)]
    positive: str
    prior: Probability
    thresholds: Thresholds
    novelty: NoveltyCutoffs
    heatmap: Heatmap
    variants: dict[str, Variant]
    self_test: SelfTest
    backbone: str
    weights: str
    image_size: int
    created: str
    ages: tuple[float, float] | None = None
    data: dict[str, Any] = {}  # Any: for people and reports; the service passes them on unread
    metrics: dict[str, Any] = {}  # Any: as above
    versions: dict[str, str] = {}


class ModelFolder(msgspec.Struct, frozen=True, kw_only=True):
    """All its files agree with `sums`, their hashes by name."""

    path: Path
    description: Description
    sums: dict[str, str]


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of a model folder that has been checked. `graph`: the very bytes that were hashed."""

    folder: Path
    description: Description
    variant: str
    sha256: str
    graph: bytes


def read_artefact(folder: Path, variant: str) -> Artefact:
    """Raises ArtefactError: a file is missing, differs from its hash, or does not say what it should."""
    return read_variant(read_folder(folder), variant)


def read_folder(folder: Path) -> ModelFolder:
    """Every variant is checked, whichever is chosen then. Raises ArtefactError, as `read_artefact` does."""
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder; MEDXFER_MODEL must name a model folder, as training leaves one")
    sums = _read_sums(folder)
    description = decode_description(_read_verified(folder, DESCRIPTION, sums), folder / DESCRIPTION)
    for variant in description.variants.values():
        _read_verified(folder, variant.file, sums)
    return ModelFolder(path=folder, description=description, sums=sums)


def read_variant(folder: ModelFolder, variant: str) -> Artefact:
    """Raises ArtefactError, as `read_artefact` does."""
    path, description = folder.path, folder.description
    if variant not in description.variants:
        raise ArtefactError(f"{path}: has no variant «{variant}»; it has {', '.join(description.variants)}")
    file = description.variants[variant].file
    graph = _read_verified(path, file, folder.sums)
    return Artefact(folder=path, description=description, variant=variant, sha256=folder.sums[file], graph=graph)


def decode_description(content: bytes, where: Path) -> Description:
    """Raises ArtefactError: not a model.json of this version, or one that contradicts itself."""
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

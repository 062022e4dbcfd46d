"""Draws X-rays of no one, in the style of those that a model has seen, as examples for its page and for a first curl.

  python -m training synthesise models/default --data path/to/chest_xray --out candidates
  python -m training synthesise models/default --data path/to/chest_xray --keep training/examples.toml

The first command draws candidates of each label and says which keep the rules: the model calls them typical and by their label,
and none is a copy of anybody. The second puts those that were chosen by eye into the model folder, and figures on its card.

No copy: the nearest of all images that the model has seen, by the correlation of their pixels and by the distance of the
network's features, is farther than the nearest image of another patient is from a real one of that label, on average."""

import hashlib
import io
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import torch
from msgspec import Meta
from PIL import Image

from service.images.decode import decode_image
from service.model.artefact import Description
from service.model.classifier import GreyImage
from training.config import ConfigError, Data
from training.data import manifest, mosaic, scan
from training.data.manifest import DataError, Record
from training.graph import assembly, inference, model_folder, seen, surgery
from training.graph.model_folder import FP32
from training.progress import track
from training.stages import card

SIDE = 224  # px, of the square that is drawn
SHAPE = 288, 224  # px, of the picture: a chest's usual shape. Copies that were stored as squares do not tell theirs
FROM = 1200  # images of a label at most, spread over all of them, so that they fit into memory
THUMBNAIL = 64  # px, of the square on which correlations are computed
SAMPLE = 300  # real images of a label whose neighbours are looked for
QUALITY = 80  # of the JPEG files: under 20 kB
MIDDLE, CONTRAST = 120, 56  # grey levels: mean and deviation


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """`correlation` and `distance`: of the nearest image that the model has seen. `share`: the greatest part of the pixels in
    which one and the same image has the greatest weight. `look`: what to look for."""

    file: str
    sha256: str
    label: str
    seed: int
    look: str
    probability: float  # of the positive label
    uncertain: bool
    novelty: float
    level: str
    correlation: float
    distance: float
    share: float


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """Means over a label's real images: greatest correlation with, and least distance from, an image of another patient."""

    correlation: float
    distance: float


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    label: str
    seed: int
    look: str


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    example: Annotated[list[Choice], Meta(min_length=1)]


def run(folder: Path, data: Data, *, count: int, out: Path | None, keep: Path | None) -> None:
    """Raises ConfigError if there is not exactly one of `out` and `keep`, or if that cannot be used; DataError as
    `scan.scan_readable`, or if the labels are not the model's; ArtefactError if the model cannot be trusted."""
    if (out is None) == (keep is None):
        raise ConfigError("synthesise needs either --out FOLDER, for candidates, or --keep FILE, those that were chosen")
    if out and (out.exists() or count < 1):
        raise ConfigError(f"--out {out}: exists" if out.exists() else f"--count {count}: at least 1")
    description = model_folder.description_of(folder)
    if keep and "test" not in description.metrics:
        raise ConfigError(f"--keep {keep}: {folder} has no full card, where its examples would stand; was it recalibrated?")
    wanted = read_choices(keep) if keep else candidates(description, count)
    if unknown := next((choice.label for choice in wanted if choice.label not in description.labels), None):
        raise ConfigError(f"--keep {keep}: «{unknown}» is not a label of the model; those are {', '.join(description.labels)}")
    judge = Judge(folder, data)
    examples, contents = draw(judge, wanted)
    show(examples, judge)
    if out:
        model_folder.write_files(out, contents)
        print(out)
    else:
        publish(folder, examples, contents, judge)


def candidates(description: Description, count: int) -> list[Choice]:
    return [Choice(label=label, seed=seed, look="") for label in description.labels for seed in range(count)]


def read_choices(path: Path) -> list[Choice]:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Choices).example
    except (OSError, ValueError) as error:
        raise ConfigError(f"--keep {path}: {error}") from error


class Judge:
    """The images that a model has seen, and how a drawn one compares with them."""

    def __init__(self, folder: Path, data: Data) -> None:
        self.classifier = model_folder.load(folder)
        self.description = self.classifier.artefact.description
        self.data, self.records = Path(data.folder), seen_of(folder, data, self.description)
        model = onnx.load(folder / self.description.variants[FP32].file)
        self.session = inference.session_of(surgery.with_outputs(model, [assembly.NOVELTY_FEATURES]))
        features = inference.novelty_features(model, self.data, self.records)
        self.center, self.scale = features.mean(0), features.std(0).clip(1e-6)
        self.features = (features - self.center) / self.scale
        self.thumbnails = np.stack([thumbnail(manifest.read_image(self.data, each)) for each in track(self.records, "compare")])
        self.real = {label: self._nearest_of_real(label) for label in self.description.labels}

    def judge(self, content: bytes, choice: Choice, number: int, share: float) -> Example:
        grey = decode_image(content).grey
        outputs, description = self.classifier.classify([grey]), self.description
        probability = float(outputs.probabilities[0, description.labels.index(description.positive)])
        novelty = float(outputs.novelty[0])
        [features] = self.session.run([assembly.NOVELTY_FEATURES], {"images": [grey]})
        distances = np.linalg.norm(self.features - (features.ravel() - self.center) / self.scale, axis=1)
        return Example(
            file=f"{re.sub('[^a-z0-9]+', '-', choice.label.lower())}-{number}.jpeg",
            sha256=hashlib.sha256(content).hexdigest(),
            label=choice.label,
            seed=choice.seed,
            look=choice.look,
            probability=round(probability, 4),
            uncertain=description.thresholds.is_uncertain(probability),
            novelty=round(novelty, 2),
            level=description.novelty.level(novelty),
            correlation=round(float((self.thumbnails @ thumbnail(grey)).max()), 4),
            distance=round(float(distances.min()), 2),
            share=round(share, 4),
        )

    def faults(self, example: Example) -> list[str]:
        """Why an example may not be shown."""
        is_called = (example.probability >= 0.5) == (example.label == self.description.positive)
        rules = {
            f"is {example.level}": example.level != "typical",
            "is called otherwise": not is_called and not example.uncertain,
            "pixels like somebody's": example.correlation >= self.real[example.label].correlation,
            "features like somebody's": example.distance <= self.real[example.label].distance,
        }
        return [fault for fault, holds in rules.items() if holds]

    def _nearest_of_real(self, label: str) -> Nearest:
        patients = np.array([record.patient for record in self.records])
        of_label = np.flatnonzero([record.label == label for record in self.records])
        correlations, distances = [], []
        for at in of_label[np.linspace(0, len(of_label) - 1, min(SAMPLE, len(of_label))).astype(int)]:
            others = patients != patients[at]
            correlations.append((self.thumbnails[others] @ self.thumbnails[at]).max())
            distances.append(np.linalg.norm(self.features[others] - self.features[at], axis=1).min())
        return Nearest(correlation=round(float(np.mean(correlations)), 4), distance=round(float(np.mean(distances)), 2))


def seen_of(folder: Path, data: Data, description: Description) -> list[Record]:
    """Each image once that the model has seen, so that no test image is drawn from; all, if the model does not say."""
    known, first = seen.read(folder), dict[str, Record]()
    for record in scan.scan_readable(data).records:
        if not known or record.sha256[: seen.DIGITS] in known:
            first.setdefault(record.sha256, record)
    found = [*first.values()]
    if not found:
        raise DataError(f"{data.folder}: {folder} has seen none of these images ({seen.FILE})")
    if (labels := {record.label for record in found}) != set(description.labels):
        raise DataError(
            f"{data.folder}: images that the model has seen have the labels {sorted(labels)}, not {description.labels}"
        )
    return found


def draw(judge: Judge, wanted: Sequence[Choice]) -> tuple[list[Example], dict[str, bytes]]:
    """The examples, and the contents of their files by name."""
    sources = {label: of_label(judge, label) for label in {choice.label for choice in wanted}}
    examples: list[Example] = []
    contents = {}
    for choice in track(wanted, "draw"):
        drawn = mosaic.draw(sources[choice.label], choice.seed)
        content = encode(drawn.pixels.numpy())
        number = 1 + sum(example.label == choice.label for example in examples)
        examples.append(judge.judge(content, choice, number, drawn.largest_share))
        contents[examples[-1].file] = content
    return examples, contents


def of_label(judge: Judge, label: str) -> torch.Tensor:
    """Float32 [N, SIDE, SIDE], standardised."""
    records = [record for record in judge.records if record.label == label]
    chosen = np.linspace(0, len(records) - 1, min(FROM, len(records))).astype(int)
    images = [resize(manifest.read_image(judge.data, records[at]), SIDE) for at in chosen]
    return mosaic.standardise(torch.from_numpy(np.stack(images)))


def encode(pixels: npt.NDArray[np.float32]) -> bytes:
    grey = np.rint(MIDDLE + CONTRAST * pixels).clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(grey).resize(SHAPE, Image.Resampling.BICUBIC).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def thumbnail(grey: GreyImage) -> npt.NDArray[np.float32]:
    """Of length 1 and mean 0, so that a product is a correlation."""
    pixels = resize(grey, THUMBNAIL).ravel()
    pixels -= pixels.mean()
    return np.asarray(pixels / max(float(np.linalg.norm(pixels)), 1e-6))


def resize(grey: GreyImage, side: int) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)


def show(examples: Sequence[Example], judge: Judge) -> None:
    for label, real in judge.real.items():
        print(f"real {label}: nearest of another patient at correlation {real.correlation:.3f}, distance {real.distance:.1f}")
    print(f"{'file':22} seed  score novelty correlation distance one image")
    for e in examples:
        faults = ", ".join(judge.faults(e)) or ("uncertain" if e.uncertain else "")
        figures = f"{e.probability:7.3f}{e.novelty:8.1f}{e.correlation:12.3f}{e.distance:9.1f}{e.share:10.1%}"
        print(f"{e.file:22}{e.seed:5}{figures}  {faults}")


def publish(folder: Path, examples: Sequence[Example], contents: Mapping[str, bytes], judge: Judge) -> None:
    """Replaces the examples of a model folder, and their figures in model.json and on the card. Raises ConfigError if an
    example breaks a rule."""
    if broken := [f"{e.label} {e.seed}: {', '.join(faults)}" for e in examples if (faults := judge.faults(e))]:
        raise ConfigError("examples that may not be shown: " + "; ".join(broken))
    metrics = {**judge.description.metrics, "examples": {"images": examples, "real": judge.real, "from": len(judge.records)}}
    model_folder.rewrite_description(folder, msgspec.structs.replace(judge.description, metrics=metrics), contents)
    print(folder / model_folder.EXAMPLES)
    card.write(folder)

"""Stage 6: the model card `model/README.md`, every figure from `model.json`.

python -m training card --run runs/1
"""

from pathlib import Path
from typing import Any

from service.artefact import Description
from training import metrics, model_folder
from training.config import Config

CARD = """# {name}

{backbone} on {labels}, made by [MedXfer](../../README.md) on {created}. **For education and research only. Not a medical
device; never use it to decide about a person.**

## Use

Serve it with `MEDXFER_MODEL=path/to/this/folder make serve`, or use the graph alone: its preprocessing is inside.

```python
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx")
images = [np.asarray(Image.open(path).convert("L")) for path in ("a.jpeg", "b.jpeg")]
probabilities, heatmaps, novelty = session.run(None, {{"images": images}})  # {labels}
```

Probabilities are posteriors for a prior of {prior}: where {positive} is rarer, they are too high. Between {screening:.4f}
and {rule_in:.4f} the model calls itself uncertain. `novelty` from {unusual:.1f} on is unusual, from {foreign:.1f} on foreign.

## How good it is

Measured on the exported file through the serving code, at a threshold of 0.5; intervals are 95 %, AUROC's over patients;
precision, recall and F1 are averages over the two labels, ECE and Brier score weighted to equal priors.
Checkpoint, calibration and thresholds were chosen on the two validations alone, and locked before the model saw a test
image (reading {reading} of this run's log).

| | validation | shifted validation | test |
|---|---|---|---|
{table}

*Shifted validation*: the lowest patient numbers of each series, held out as a block. It shows more of what changes between
parts of an archive than a random fold does. Confusion on the test fold, rows true, columns called
({negative}, {positive}): {confusion}.

The zone of uncertainty aims at a sensitivity and a specificity of {target} outside it, as one-sided 95 % lower bounds on
the shifted validation. {zone}

## Data

{source}

| split | {labels_row} |
|---|---|---|
{data_table}

Splits share no patient and no file (`duplicate`: left out, the same bytes stand elsewhere). {anonymous}

## Limits

- A model of one data set learns its habits: published ones, trained on the Kermany chest X-rays, fell to an AUROC of 0.54 on
  children from elsewhere (Xin, Li, Yi, Emerg Radiol 2021, doi:10.1007/s10140-021-01954-x). Expect the same here.
- Figures on held-out parts of the same archive, as those above, say nothing about another archive.
- The heat-map shows where evidence came from, not where a lesion is.
- `novelty` knows images that differ from the training images as a whole; it does not find rare disease.

Starting weights: {weights}. Input: {image_size} × {image_size}, stretched. Made with {versions}.
"""

ROWS = (
    "images",
    "auroc",
    "accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "recall",
    "f1",
    "ece",
    "brier",
    "uncertain",
    "unusual",
)

SPLITS = ("train", "val", "shifted", "test", "duplicate")


def run(config: Config, run_dir: Path) -> None:
    folder = run_dir / "model"
    description = model_folder.load(folder).artefact.description
    (folder / "README.md").write_text(render(description), encoding="utf-8")
    print(folder / "README.md")


def render(description: Description) -> str:
    measured = description.metrics
    zone = measured["zone"]
    return CARD.format(
        name=description.name,
        backbone=description.backbone,
        labels=" / ".join(description.labels),
        labels_row=" | ".join(description.labels),
        created=description.created,
        prior=description.prior,
        screening=description.thresholds.screening,
        rule_in=description.thresholds.rule_in,
        unusual=description.novelty.unusual,
        foreign=description.novelty.foreign,
        table="\n".join(
            f"| {row} | " + " | ".join(metrics.text(measured[split][row]) for split in ("val", "shifted", "test")) + " |"
            for row in ROWS
        ),
        negative=next(label for label in description.labels if label != description.positive),
        positive=description.positive,
        confusion=measured["test"]["confusion"],
        target=zone["target"],
        anonymous=_anonymous(description.data["without_patient"]),
        reading=measured["test"]["reading"],
        zone=" ".join(_zone(edge, zone[edge]) for edge in ("sensitivity", "specificity")),
        source=description.data["source"] or "Not named.",
        data_table="\n".join(
            f"| {split} | " + " | ".join(f"{counts.get(label, 0):,}" for label in description.labels) + " |"
            for split in SPLITS
            if (counts := description.data["images"].get(split))
        ),
        weights=description.weights,
        image_size=description.image_size,
        versions=", ".join(f"{name} {version}" for name, version in description.versions.items()),
    )


def _anonymous(images: int) -> str:
    if not images:
        return "Every file name tells its patient."
    return f"But {images:,} file names tell no patient: two of one patient may stand in two splits, and flatter the figures."


def _zone(name: str, edge: dict[str, Any]) -> str:
    bound = (
        f"{name.capitalize()}: a lower bound of {edge['lower_bound']:.4f} on {edge['images']} images, {edge['errors']} errors"
    )
    return bound + ("." if edge["reached"] else ", too few images to show more.")

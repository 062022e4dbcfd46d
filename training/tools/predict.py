"""What a model says of images, on the command line.

python -m training predict models/default a.jpeg b.png
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import ImageError
from service.images.decode import decode_image
from service.model.classifier import Classifier
from training.data.manifest import DataError
from training.graph import model_folder

COLUMNS = ("image", "label", "confidence", "uncertain", "novelty")


def run(model: Path, paths: Sequence[Path], *, as_csv: bool) -> None:
    """One line for each image. Raises DataError at the end: some could not be read (each was named)."""
    classifier = model_folder.load(model)
    writer = csv.writer(sys.stdout)
    width = max(len(str(path)) for path in paths)
    if as_csv:
        writer.writerow(COLUMNS)
    bad = 0
    for path in paths:
        try:
            row = answer(classifier, path)
        except (ImageError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad += 1
            continue
        if as_csv:
            writer.writerow([path, *row])
        else:
            label, confidence, uncertain, novelty = row
            print(f"{path!s:{width}}  {label} {confidence:.4f}{', uncertain' * bool(uncertain)}, {novelty}")
    if bad:
        raise DataError(f"{bad} of {len(paths)} images could not be read")


def answer(classifier: Classifier, path: Path) -> tuple[str, float, bool, str]:
    """Label, its probability, whether it is uncertain, level of novelty. Raises ImageError, OSError."""
    [output] = classifier.classify_each([decode_image(path.read_bytes()).grey])
    description = classifier.artefact.description
    best = int(output.probabilities.argmax())
    positive = float(output.probabilities[description.labels.index(description.positive)])
    uncertain = description.thresholds.is_uncertain(positive)
    return (
        description.labels[best],
        float(output.probabilities[best]),
        uncertain,
        description.novelty.level(float(output.novelty)),
    )

"""Prints a model's predictions for some images.

python -m training predict models/default a.jpeg b.png
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import ImageError
from service.images.decode import decode_image
from training.data.manifest import DataError
from training.graph import model_folder


def run(model: Path, paths: Sequence[Path], *, as_csv: bool) -> None:
    """One line for each image. Raises DataError at the end if images could not be read; each was named."""
    classifier = model_folder.load(model)
    description = classifier.artefact.description
    writer = csv.writer(sys.stdout)
    width = max(len(str(path)) for path in paths)
    if as_csv:
        writer.writerow(["image", "label", "confidence", "uncertain", "novelty"])
    bad = 0
    for path in paths:
        try:
            [output] = classifier.classify_each([decode_image(path.read_bytes()).grey])
        except (ImageError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad += 1
            continue
        label, confidence = description.labels[output.probabilities.argmax()], float(output.probabilities.max())
        positive = float(output.probabilities[description.labels.index(description.positive)])
        uncertain, novelty = description.thresholds.is_uncertain(positive), description.novelty.level(float(output.novelty))
        if as_csv:
            writer.writerow([path, label, confidence, uncertain, novelty])
        else:
            print(f"{path!s:{width}}  {label} {confidence:.4f}{', uncertain' * uncertain}, {novelty}")
    if bad:
        raise DataError(f"{bad} of {len(paths)} images could not be read")

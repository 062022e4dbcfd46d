"""Prints a model's predictions for some images.

python -m training predict models/default a.jpeg b.png"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import ImageError
from service.images.decode import decode_image
from service.model.prediction import interpret
from training.data.manifest import DataError
from training.graph import model_folder


def run(model: Path, paths: Sequence[Path], *, as_csv: bool) -> None:
    """One line for each image. Raises DataError at the end if images could not be read; each was named."""
    classifier = model_folder.load(model)
    writer = csv.writer(sys.stdout)
    width = max(len(str(path)) for path in paths)
    if as_csv:
        writer.writerow(["image", "label", "confidence", "uncertain", "novelty"])
    bad = 0
    for path in paths:
        try:
            image = decode_image(path.read_bytes())
        except (ImageError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad += 1
            continue
        found = interpret(classifier.artefact.description, image, classifier.classify_each([image.grey])[0])
        if as_csv:
            writer.writerow([path, found.label, found.confidence, found.uncertain, found.novelty.level])
        else:
            doubt = ", uncertain" * found.uncertain
            print(f"{path!s:{width}}  {found.label} {found.confidence:.4f}{doubt}, {found.novelty.level}")
    if bad:
        raise DataError(f"{bad} of {len(paths)} images could not be read")

"""Shows how well properties of your image files that are no anatomy tell the label: compression, size, exposure, borders.

  python -m training shortcuts path/to/chest_xray --model models/default

A network can learn such a property in place of the disease. With --model it also shows how far a model follows each of them.
The images are in train/LABEL/, or in LABEL/."""

from pathlib import Path

import numpy as np

from training.data import layouts, properties
from training.graph import inference, model_folder
from training.report import matched, shortcuts


def run(folder: Path, table: str, model: Path | None) -> None:
    """`table`: a CSV file with further properties, or empty. Raises DataError, as `layouts.scan_readable`."""
    records = layouts.scan_readable(folder)
    classifier = model_folder.load(model) if model else None
    positive = classifier.artefact.description.positive if classifier else records[-1].label
    truth, patients = np.array([record.label == positive for record in records]), [record.patient for record in records]
    values = properties.measure_all(folder, records, table)
    print(f"{len(records):,} images in {folder}")
    shortcuts.show(shortcuts.find(values, truth, patients))
    if classifier:
        probability = inference.predict(classifier, folder, records).probability
        matched.show(matched.measure(values, truth, probability, patients))

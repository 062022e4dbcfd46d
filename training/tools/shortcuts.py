"""Shows how well properties of your image files that are no anatomy tell the label: compression, size, exposure, borders.

  python -m training shortcuts path/to/chest_xray

A network can learn such a property in place of the disease. The images are in train/LABEL/, or in LABEL/."""

from pathlib import Path

import numpy as np

from training.data import layouts, properties
from training.report import shortcuts


def run(folder: Path, table: str) -> None:
    """`table`: a CSV file with further properties, or empty. Raises DataError, as `layouts.scan_readable`."""
    records = layouts.scan_readable(folder)
    truth = np.array([record.label == records[0].label for record in records])
    found = shortcuts.find(properties.measure_all(folder, records, table), truth, [record.patient for record in records])
    print(f"{len(records):,} images in {folder}")
    shortcuts.show(found)

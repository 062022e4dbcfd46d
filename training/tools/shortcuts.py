"""Shows how well properties of your image files that are no anatomy tell the label: compression, size, exposure, borders.

  python -m training shortcuts path/to/chest_xray --model models/default

A network can learn such a property in place of the disease. With --model it also shows how far a model follows each of them.
The images lie in any layout that training takes. Which label is positive does not matter here; of more than two,
the `data.positive` of --config names those that belong together."""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from training.config import Data
from training.data import properties, scan
from training.data.layouts import Listing
from training.graph import inference, model_folder
from training.report import matched, overview, shortcuts


def run(data: Data, table: str, model: Path | None) -> None:
    """`table`: a CSV file with further properties, or empty. Raises DataError, as `scan.scan_readable`."""
    classifier, folder = model_folder.load(model) if model else None, Path(data.folder)
    if classifier:
        found = scan.scan_labelled(data, classifier.artefact.description)
    else:
        found = scan.scan_readable(replace(data, positive=data.positive or _last(scan.find(data))))
    overview.brief(found, folder)
    records, truth = found.records, np.array([record.positive for record in found.records])
    patients = [record.patient for record in records]
    values = properties.measure_all(folder, records, table)
    shortcuts.show(shortcuts.find(values, truth, patients))
    if classifier:
        probability = inference.predict(classifier, folder, records).probability
        matched.show(matched.measure(values, truth, probability, patients))


def _last(listing: Listing) -> tuple[str, ...]:
    """The last of two labels; none of more, so that the user is asked."""
    found = sorted({file.label for file in listing.files})
    return (found[-1],) if len(found) == 2 else ()

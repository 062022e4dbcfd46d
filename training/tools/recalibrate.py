"""Refits temperature, bias, thresholds and novelty cut-offs of a model to your own labelled images.

  python -m training recalibrate models/default --data path/to/labelled --out models/ours

The images are path/to/labelled/LABEL/*.jpeg, under the model's own two labels. The network stays as it is."""

from pathlib import Path

from training.config import Calibrate
from training.data import layouts
from training.data.manifest import DataError
from training.graph import model_folder
from training.report import int8_gate
from training.stages import calibrate, card


def run(folder: Path, images: Path, out: Path) -> None:
    """Writes the model in `folder`, calibrated on all images of `images`, to `out`. Raises DataError if the labels are not the
    model's, or if a label has too few images."""
    records = layouts.scan_labelled(images)
    description = model_folder.description_of(folder)
    if (found := sorted({record.label for record in records})) != sorted(description.labels):
        raise DataError(f"{images}: its labels are {found}, the model's are {description.labels}")
    models, description = calibrate.calibrate(folder, images, records, Calibrate().target)
    model_folder.write(out, models, description)
    calibrate.show(description)
    int8_gate.check(out, images, {"labelled": records})
    card.write_recalibrated(out)

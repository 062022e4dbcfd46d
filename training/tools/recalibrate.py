"""Refits temperature, bias, thresholds and novelty cut-offs of a model to your own labelled images.

  python -m training recalibrate models/default --data path/to/labelled --out models/ours

The images lie in any layout that training takes, under labels that the model knows. The network stays as it is."""

from pathlib import Path

from training.config import Calibrate, Data
from training.data import scan
from training.graph import model_folder, seen
from training.report import int8_gate, overview
from training.stages import calibrate, card


def run(folder: Path, data: Data, out: Path) -> None:
    """Writes the model in `folder`, calibrated on all images of `data`, to `out`. Raises DataError if the labels are not the
    model's, or if a label has too few images."""
    found = scan.scan_labelled(data, model_folder.description_of(folder))
    overview.brief(found, Path(data.folder))
    records = found.records
    models, description = calibrate.calibrate(folder, Path(data.folder), records, Calibrate().target)
    model_folder.write(out, models, description)
    calibrate.show(description)
    int8_gate.check(out, Path(data.folder), {"labelled": records})
    card.write_recalibrated(out)
    if known := seen.read(folder):
        seen.write(out, [*known, *(record.sha256 for record in records)])

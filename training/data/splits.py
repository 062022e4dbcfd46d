"""Assigns every image to a split; no patient and no image is in two of them, except that a given test split may share patients
with the others, which `overview` tells.

train           to fit on
val             the validation that was given, otherwise a fold of patients like those in train
shifted         a second validation, unlike train: consecutive patient numbers, or a whole series
test            the official test split if there is one, otherwise another fold; read once for each model

A split that was given stays whole. Left out of all: `unreadable`, `contradictory` (the same bytes under both labels),
`duplicate` (the same bytes again), `shared` (images to train on of a patient who is in the given validation)."""

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sklearn.model_selection import StratifiedGroupKFold

from training.config import Data
from training.data import patients
from training.data.manifest import DataError, Record

TRAIN, VAL, SHIFTED, TEST = "train", "val", "shifted", "test"
USED = (TRAIN, VAL, SHIFTED, TEST)
LEFT_OUT = ("duplicate", "contradictory", "unreadable", "shared")
CALIBRATION_PATIENTS = 5  # the least of each label: a calibration is measured in as many folds of patients
# Of each label, the shifted validation takes as many patients even where `data.shifted_fraction` is fewer; but then at most
# this share of them.
SHIFTED_PATIENTS, LARGEST_SHARE = 30, 0.25
LEAST_PATIENTS = round(CALIBRATION_PATIENTS / LARGEST_SHARE)  # of each label, to train on


def split(records: Sequence[Record], choices: Data, seed: int) -> list[Record]:
    """Every record with its split. A given test or validation stays whole, except for files that cannot be used.

    The shifted validation takes the lowest numbers of each series. The official test images of the Kermany data are the lowest
    numbers of their series too, so consecutive numbers next to them show more of the shift than a random fold does. Where names
    have no numbers, it is the alphabet's first part, which may be no more than a random fold.

    Raises DataError if there are too few patients, or if no series has the name `data.shifted_series`."""
    assigned = {record.path: record.official_split for record in records if record.official_split in (VAL, TEST)}
    assigned |= _left_out(records)
    given = {record.patient for record in records if assigned.get(record.path) == VAL}
    assigned |= {record.path: "shared" for record in records if record.path not in assigned and record.patient in given}
    pool = [record for record in records if record.path not in assigned]
    shifted = _shifted_patients(pool, choices)
    rest = [record for record in pool if record.patient not in shifted]
    assigned |= {record.path: SHIFTED for record in pool if record.patient in shifted}
    wanted = [split for split in (VAL, TEST) if split not in assigned.values()]
    assigned |= _folds(rest, choices.folds, seed, wanted)
    return [msgspec.structs.replace(record, split=assigned[record.path]) for record in records]


def strict_test(records: Sequence[Record]) -> list[Record]:
    """Test images of patients whose name occurs in no other split, each image once."""
    elsewhere = {record.patient for record in records if record.split != TEST}
    first = {record.sha256: record for record in reversed(records) if record.split == TEST and record.patient not in elsewhere}
    return [record for record in records if first.get(record.sha256) is record]


def official_overlap(records: Sequence[Record]) -> list[str]:
    """Patients whose name occurs both in the official test split and outside it."""
    test = {record.patient for record in records if record.official_split == TEST}
    return sorted(test & {record.patient for record in records if record.official_split != TEST})


def check_leaks(records: Sequence[Record]) -> None:
    """Raises DataError if a patient, or a file, is in two of our splits. The official test split is not ours."""
    ours = [record for record in records if record.split in USED and record.official_split != TEST]
    for key in ("patient", "sha256"):
        first: dict[str, Record] = {}
        for record in ours:
            other = first.setdefault(getattr(record, key), record)
            if other.split != record.split:
                raise DataError(f"{key} shared by {other.path} ({other.split}) and {record.path} ({record.split})")


def check_enough(records: Sequence[Record]) -> None:
    """Raises DataError if there are too few patients of a label to fit, to choose and to calibrate on."""
    left_out = _left_out(records)
    fit_on = [record for record in records if record.official_split in ("", TRAIN) and record.path not in left_out]
    for label in sorted({record.label for record in records}):
        found = {record.patient for record in fit_on if record.label == label}
        if len(found) < LEAST_PATIENTS:
            left = f"«{label}» has {len(found)} patients to train on, outside given splits and without copies"
            raise DataError(f"{left}; at least {LEAST_PATIENTS} are needed")


def check_complete(records: Sequence[Record]) -> None:
    """Raises DataError if a split lacks a label, or has too few patients of it to calibrate on."""
    for label in sorted({record.label for record in records}):
        for split in USED:
            found = {record.patient for record in records if (record.split, record.label) == (split, label)}
            if not found:
                raise DataError(f"the split «{split}» has no image of «{label}»: too few images, or all of one patient")
            if split == SHIFTED and len(found) < CALIBRATION_PATIENTS:
                needed = f"{CALIBRATION_PATIENTS} are needed; increase data.shifted_fraction, or add images"
                raise DataError(f"the split «shifted» has {len(found)} patients of «{label}» to calibrate on, and {needed}")


def _left_out(records: Sequence[Record]) -> dict[str, str]:
    """Reasons by path. Of files with the same bytes, the official test images stay; otherwise one of a given validation, one
    whose name tells its patient, or the first."""
    left_out = {record.path: "unreadable" for record in records if record.problem}
    by_content = defaultdict(list)
    for record in records:
        if not record.problem:
            by_content[record.sha256].append(record)
    for same in by_content.values():
        same.sort(key=lambda record: (record.official_split != VAL, patients.is_unknown(record.patient)))
        kept = [record for record in same if record.official_split == TEST] or same[:1]
        if len({record.label for record in same}) > 1:
            left_out |= {record.path: "contradictory" for record in same}
        else:
            left_out |= {record.path: "duplicate" for record in same if record not in kept}
    return left_out


def _shifted_patients(records: Sequence[Record], choices: Data) -> set[str]:
    by_series = defaultdict(list)
    for record in records:
        by_series[record.label, record.series].append(record)
    names = sorted({series for _, series in by_series})
    if choices.shifted_series and choices.shifted_series not in names:
        raise DataError(f"data.shifted_series = «{choices.shifted_series}» is no series here: {names}")
    of_label = {label: len({record.patient for record in records if record.label == label}) for label, _ in by_series}
    shifted: set[str] = set()
    for (label, series), members in by_series.items():
        members.sort(key=lambda record: (record.number, record.path))
        owners = list(dict.fromkeys(record.patient for record in members))
        least = math.ceil(len(owners) * min(SHIFTED_PATIENTS / of_label[label], LARGEST_SHARE))
        share = 1.0 if series == choices.shifted_series else choices.shifted_fraction
        shifted |= {record.patient for record in members[: round(len(members) * share)]} | set(owners[:least])
    return shifted


def _folds(records: Sequence[Record], folds: int, seed: int, wanted: Sequence[str]) -> dict[str, str]:
    """Splits by path: folds of patients, each with its share of every label, series and cause. The first ones are `wanted`."""
    owners = [record.patient for record in records]
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a group with fewer images than folds, which is harmless
            cuts = list(cutter.split(records, [f"{r.label} {r.series} {r.cause}" for r in records], owners))
    except ValueError as error:
        few = f"{len(records)} images of {len(set(owners))} patients"
        raise DataError(f"{few} are too few to be cut into data.folds = {folds}") from error
    names = dict(enumerate(wanted))
    return {records[i].path: names.get(fold, TRAIN) for fold, (_, indices) in enumerate(cuts) for i in indices}

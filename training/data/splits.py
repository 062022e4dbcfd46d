"""Which split each image belongs to: no patient, and no image, in two of them.

train           to fit
val             a fold of patients, like those in train
shifted         a second validation of contiguous numbers, or of a whole series: unlike those in train
test            the official test split if there is one, else another fold; read once for each model

and, left out of all: `unreadable`, `contradictory` (the same bytes under both labels), `duplicate` (the same bytes again).
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sklearn.model_selection import StratifiedGroupKFold

from training.config import Data
from training.data.manifest import DataError, Record

TRAIN, VAL, SHIFTED, TEST = "train", "val", "shifted", "test"
USED = (TRAIN, VAL, SHIFTED, TEST)
CALIBRATION_PATIENTS = 5  # of each label, at least; a calibration is measured in as many folds of them
LEFT_OUT = ("duplicate", "contradictory", "unreadable")


def split(records: Sequence[Record], choices: Data, seed: int) -> list[Record]:
    """Every record with its split. An official test split stays whole, but for what cannot be used.

    The shifted validation takes the lowest numbers of each series. The official test images of the Kermany data are the lowest
    numbers of their series too, so a contiguous block next to them shows more of the shift than a random fold does.

    Raises DataError: too few patients, or no series of the name `data.shifted_series`.
    """
    assigned = _left_out(records)
    for record in records:
        if record.official_split == TEST:
            assigned.setdefault(record.path, TEST)
    pool = [record for record in records if record.path not in assigned]
    shifted = _shifted_patients(pool, choices)
    rest = [record for record in pool if record.patient not in shifted]
    assigned |= {record.path: SHIFTED for record in pool if record.patient in shifted}
    assigned |= _folds(rest, choices.folds, seed, cut_test=TEST not in assigned.values())
    return [msgspec.structs.replace(record, split=assigned[record.path]) for record in records]


def strict_test(records: Sequence[Record]) -> list[Record]:
    """The test images whose patient's name stands nowhere else, and each image once."""
    elsewhere = {record.patient for record in records if record.split != TEST}
    first = {record.sha256: record for record in reversed(records) if record.split == TEST and record.patient not in elsewhere}
    return [record for record in records if first.get(record.sha256) is record]


def official_overlap(records: Sequence[Record]) -> list[str]:
    """Patients of the official test split who stand outside it, too."""
    test = {record.patient for record in records if record.official_split == TEST}
    return sorted(test & {record.patient for record in records if record.official_split != TEST})


def check_leaks(records: Sequence[Record]) -> None:
    """Raises DataError: a patient, or the same bytes, in two of our splits. (The official test split is not ours.)"""
    for key in ("patient", "sha256"):
        home: dict[str, Record] = {}
        for record in records:
            if record.split in LEFT_OUT or record.official_split == TEST:
                continue
            other = home.setdefault(getattr(record, key), record)
            if other.split != record.split:
                raise DataError(f"{key} shared by {other.path} ({other.split}) and {record.path} ({record.split})")


def _left_out(records: Sequence[Record]) -> dict[str, str]:
    """By path. Of the same bytes, an official test image is the one that stays; so do two of them."""
    twins = defaultdict(list)
    for record in records:
        if not record.problem:
            twins[record.sha256].append(record)
    left_out = {record.path: "unreadable" for record in records if record.problem}
    for same in twins.values():
        if len({record.label for record in same}) > 1:
            left_out |= {record.path: "contradictory" for record in same}
            continue
        kept = next((record for record in same if record.official_split == TEST), same[0])
        left_out |= {r.path: "duplicate" for r in same if r is not kept and r.official_split != TEST}
    return left_out


def _shifted_patients(records: Sequence[Record], choices: Data) -> set[str]:
    by_series = defaultdict(list)
    for record in records:
        by_series[record.label, record.series].append(record)
    if choices.shifted_series and choices.shifted_series not in {series for _, series in by_series}:
        raise DataError(
            f"data.shifted_series = «{choices.shifted_series}» is no series here: {sorted({s for _, s in by_series})}"
        )
    shifted: set[str] = set()
    for (_, series), members in by_series.items():
        members.sort(key=lambda record: (record.number, record.path))
        share = 1.0 if series == choices.shifted_series else choices.shifted_fraction
        shifted |= {record.patient for record in members[: round(len(members) * share)]}
    return shifted


def _folds(records: Sequence[Record], folds: int, seed: int, cut_test: bool) -> dict[str, str]:
    """By path: folds of patients, each with its share of every label, series and cause."""
    strata = [f"{record.label} {record.series} {record.cause}" for record in records]
    patients = [record.patient for record in records]
    names = {0: VAL, 1: TEST} if cut_test else {0: VAL}
    assigned: dict[str, str] = {}
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of a stratum that is smaller than the folds: it goes as far as it goes
            cuts = list(cutter.split(records, strata, patients))
    except ValueError as error:
        few = f"{len(records)} images of {len(set(patients))} patients"
        raise DataError(f"{few} are too few to be cut into data.folds = {folds}") from error
    for fold, (_, indices) in enumerate(cuts):
        assigned |= {records[index].path: names.get(fold, TRAIN) for index in indices}
    return assigned

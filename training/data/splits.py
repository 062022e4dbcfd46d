"""Assigns every image to a split; no patient and no image is in two of them.

train           to fit on
val             a fold of patients like those in train
shifted         a second validation, unlike train: consecutive patient numbers, or a whole series
test            the official test split if there is one, otherwise another fold; read once for each model

Left out of all: `unreadable`, `contradictory` (the same bytes under both labels), `duplicate` (the same bytes again)."""

import warnings
from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sklearn.model_selection import StratifiedGroupKFold

from training.config import Data
from training.data.manifest import DataError, Record

TRAIN, VAL, SHIFTED, TEST = "train", "val", "shifted", "test"
USED = (TRAIN, VAL, SHIFTED, TEST)
LEFT_OUT = ("duplicate", "contradictory", "unreadable")
CALIBRATION_PATIENTS = 5  # the least of each label: a calibration is measured in as many folds of patients


def split(records: Sequence[Record], choices: Data, seed: int) -> list[Record]:
    """Every record with its split. An official test split stays whole, except for files that cannot be used.

    The shifted validation takes the lowest numbers of each series. The official test images of the Kermany data are the lowest
    numbers of their series too, so consecutive numbers next to them show more of the shift than a random fold does.

    Raises DataError if there are too few patients, or if no series has the name `data.shifted_series`."""
    assigned = {record.path: TEST for record in records if record.official_split == TEST} | _left_out(records)
    pool = [record for record in records if record.path not in assigned]
    shifted = _shifted_patients(pool, choices)
    rest = [record for record in pool if record.patient not in shifted]
    assigned |= {record.path: SHIFTED for record in pool if record.patient in shifted}
    assigned |= _folds(rest, choices.folds, seed, cut_test=TEST not in assigned.values())
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


def _left_out(records: Sequence[Record]) -> dict[str, str]:
    """Reasons by path. Of files with the same bytes, the official test images stay, otherwise the first one."""
    left_out = {record.path: "unreadable" for record in records if record.problem}
    by_content = defaultdict(list)
    for record in records:
        if not record.problem:
            by_content[record.sha256].append(record)
    for same in by_content.values():
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
    shifted: set[str] = set()
    for (_, series), members in by_series.items():
        members.sort(key=lambda record: (record.number, record.path))
        share = 1.0 if series == choices.shifted_series else choices.shifted_fraction
        shifted |= {record.patient for record in members[: round(len(members) * share)]}
    return shifted


def _folds(records: Sequence[Record], folds: int, seed: int, cut_test: bool) -> dict[str, str]:
    """Splits by path: folds of patients, each with its share of every label, series and cause."""
    patients = [record.patient for record in records]
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a group with fewer images than folds, which is harmless
            cuts = list(cutter.split(records, [f"{r.label} {r.series} {r.cause}" for r in records], patients))
    except ValueError as error:
        few = f"{len(records)} images of {len(set(patients))} patients"
        raise DataError(f"{few} are too few to be cut into data.folds = {folds}") from error
    names = {0: VAL, 1: TEST} if cut_test else {0: VAL}
    return {records[i].path: names.get(fold, TRAIN) for fold, (_, indices) in enumerate(cuts) for i in indices}

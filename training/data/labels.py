"""Groups the labels of a data set under the two answers that a model gives: the positive one and the other.

`data.positive` lists the labels that are positive; all others are negative. `data.names` names the two answers."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from training.config import Data
from training.data.layouts import same_word
from training.data.manifest import DataError
from training.data.tables import SEPARATOR

COMMON = "pneumonia"  # positive where the configuration does not say, and there is one other label
SHOWN = 8  # labels that an error names


class Answer(NamedTuple):
    """What a model shall answer to images of a label. `cause`: the label itself where others have the same answer, or empty."""

    name: str
    cause: str
    positive: bool


def group(labels: Mapping[str, int], data: Data) -> dict[str, Answer]:
    """The answer for each label. `labels`: how many images have it. A label that is several, joined by SEPARATOR, is positive
    if one of them is. Raises DataError if the configuration does not divide the labels into two groups."""
    chosen = _chosen(labels, data)
    sides: dict[bool, list[str]] = {True: [], False: []}
    for label in sorted(labels):
        sides[any(same_word(part) in chosen for part in (label, *label.split(SEPARATOR)))].append(label)
    if not sides[True] or not sides[False]:
        raise DataError(f"data.positive = {list(chosen.values())}: all labels would have one answer; they are {_list(labels)}")
    named = data.names or (_name(sides[False]), _name(sides[True] if len(chosen) > 1 else [*chosen.values()]))
    if same_word(named[0]) == same_word(named[1]) or not all(map(same_word, named)):
        raise DataError(f"the two answers would be called «{named[0]}» and «{named[1]}»; data.names names them otherwise")
    names = dict(zip((False, True), named, strict=True))
    return {label: Answer(names[side], _cause(label, members), side) for side, members in sides.items() for label in members}


def answers_of(labels: Collection[str], known: Mapping[str, str], positive: str) -> dict[str, Answer]:
    """The answer of a finished model for each label of a folder. `known`: its answers, by the labels that it was trained on and
    by themselves. Raises DataError, which names the labels that it does not know, or an answer that none has."""
    answers = {same_word(label): answer for label, answer in known.items()}
    parts = {label: [same_word(part) for part in label.split(SEPARATOR)] for label in labels}
    if unknown := sorted(label for label in labels if not all(part in answers for part in parts[label])):
        raise DataError(f"its labels are {_list(labels)}, the model's {_list(set(known))}; it does not know {_list(unknown)}")
    found = {label: {answers[part] for part in parts[label]} for label in labels}
    named = {label: positive if positive in each else each.pop() for label, each in found.items()}
    if missing := set(known.values()) - set(named.values()):
        raise DataError(f"it has no image of {missing.pop()}")
    return {label: Answer(name, "", name == positive) for label, name in named.items()}


def _chosen(labels: Mapping[str, int], data: Data) -> dict[str, str]:
    """The positive labels, by `same_word`."""
    known = {same_word(part): part for label in labels for part in (label, *label.split(SEPARATOR))}
    given = _given(data.positive, known)
    if not given:
        if COMMON not in {same_word(label) for label in labels} or len(labels) != 2:
            counts = ", ".join(f"{label} ({labels[label]:,})" for label in sorted(labels)[:SHOWN]) + ", …" * (
                len(labels) > SHOWN
            )
            how = "--positive LABEL, POSITIVE=LABEL for make, or data.positive in a TOML file; several with commas"
            raise DataError(f"the labels are {counts}; say which of them are positive: {how}")
        given = [COMMON]
    if unknown := next((label for label in given if same_word(label) not in known), None):
        raise DataError(f"data.positive = «{unknown}» is not a label of this data; the labels are {_list(labels)}")
    return {same_word(label): known[same_word(label)] for label in given}


def _given(positive: str | tuple[str, ...], known: Collection[str]) -> list[str]:
    """A text is one label, or several with commas between them, as POSITIVE=BACTERIA,VIRUS."""
    if isinstance(positive, str):
        return [positive] if same_word(positive) in known else [part for part in positive.split(",") if part.strip()]
    return list(positive)


def _cause(label: str, members: Sequence[str]) -> str:
    """Combinations of labels are no causes: there are hundreds of them in some archives, with an image each."""
    return label if len(members) > 1 and SEPARATOR not in label else ""


def _name(members: Sequence[str]) -> str:
    return members[0] if len(members) == 1 else " or ".join(members) if len(members) == 2 else "other"


def _list(labels: Collection[str]) -> str:
    return ", ".join(sorted(labels)[:SHOWN]) + ", …" * (len(labels) > SHOWN)

"""Predicts some images on this thread, and prints each prediction as soon as it is there."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from service.archive import files
from service.archive.entries import decode, read_file
from service.engine.engine import Engine
from service.errors import ArchiveError, RequestError
from service.model.prediction import DISCLAIMER, Prediction
from service.prompt import heatmap, words
from service.settings import read_settings


def run(images: Sequence[str], *, as_json: bool, map_file: Path | None) -> int:
    """Returns the exit code: 1 if a file was refused, otherwise 0. Raises MedXferError if it cannot begin, or if the heat-map
    cannot be written."""
    found = [each for name in images for each in _find(name)]
    if map_file and len(found) != 1:
        raise ArchiveError(f"--heatmap {map_file}: takes one image; {len(found):,} were given")
    engine = Engine.load(read_settings(os.environ))
    width = max(len(words.printable(name)) for name, _ in found)
    refused = 0
    for name, path in found:
        try:
            prediction = _predict(engine, path, map_file)
        except RequestError as error:
            refused += 1
            print(f"{words.printable(name)}: {error}", file=sys.stderr)
            text = words.problem(name, error) if as_json else ""
        else:
            if as_json:
                text = words.document(name, prediction, engine.artefact, with_heatmap=bool(map_file))
            elif len(found) > 1:
                text = words.line(name, prediction, width)
            else:
                text = words.paragraph(name, prediction, engine.artefact, map_file)
        if text:
            print(text, flush=True)
    if not as_json and refused < len(found):
        print(DISCLAIMER)
    return int(refused > 0)


def _find(images: str) -> list[tuple[str, str]]:
    """The name and the path of each file that an argument means. A file is not looked at yet, so that one that is missing is
    refused like one that cannot be read. Raises ArchiveError if a folder or glob has none."""
    root = files.find_root(images)
    if root == Path(images) and not root.is_dir():
        return [(files.utf8_name(images), images)]
    paths, passed_over = files.find(images)
    if passed_over:
        print(f"{images}: {files.passed(passed_over).removeprefix('; ')}", file=sys.stderr)
    return [(str(Path(files.utf8_name(str(root)), name)), path) for name, path in paths.items()]


def _predict(engine: Engine, path: str, map_file: Path | None) -> Prediction:
    """Raises RequestError, and ArchiveError if the heat-map cannot be written."""
    content, _ = read_file(path)
    image = decode(content)
    prediction = engine.predict_now(image)
    if map_file:
        heatmap.write(map_file, image.grey, prediction.heatmap)
    return prediction

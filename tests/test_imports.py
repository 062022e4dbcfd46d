"""The house keeps its order: each room imports only from the lines below it."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.app import VERSION
from tests.conftest import ROOT

SERVICE = [
    {"__main__"},
    {"server"},
    {"app"},
    {"open_inference"},
    {"http", "archive"},
    {"engine"},
    {"model", "images"},
    {"settings", "log", "metrics", "machine", "errors"},
]
TRAINING = [
    {"__main__"},
    {"pipeline"},
    {"audit", "fit", "export", "quantise", "calibrate", "evaluate", "card", "predict", "compare"},
    {"gallery", "tuning", "probe", "ablation", "gate", "rounding"},
    {"validation"},
    {"predictions", "batches", "plots"},
    {"heatmaps"},
    {"model_folder"},
    {"graph", "surgery", "anatomy", "odd"},
    {"backbone", "history", "splits"},
    {"data", "phantom", "altered"},
    {"metrics", "progress", "vision", "allocator", "run_folder"},
    {"config"},
    {"bootstrap", "files"},
]
SERVICE_ROOMS_FOR_TRAINING = {"model", "images", "errors"}
TRAINING_ALONE = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "onnx", "onnxscript", "training"}
FRAMEWORK_FREE = [
    *("settings", "machine", "bench", "log", "metrics", "errors", "model.artefact", "model.classifier", "images.decode"),
    *("images.dicom.radiograph", "engine.batcher", "engine.admission", "engine.watchdog", "http.multipart", "archive.run"),
]


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: relative imports hide where they go"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(package: str, names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize(("package", "lines"), [("training", TRAINING)])
def test_rooms_import_only_from_lines_below(package: str, lines: list[set[str]]) -> None:
    line_of = {room: line for line, members in enumerate(lines) for room in members}
    files = {path.stem: path for path in (ROOT / package).glob("*.py") if path.stem != "__init__"}
    assert set(files) == set(line_of), "a room has no place in the house"
    for room, path in files.items():
        for other in rooms(package, imported(path)):
            assert line_of[other] > line_of[room], f"{package}.{room} imports {other}"


def test_training_takes_four_rooms_of_the_service_and_the_service_nothing_of_training() -> None:
    for path in (ROOT / "training").glob("*.py"):
        assert rooms("service", imported(path)) <= SERVICE_ROOMS_FOR_TRAINING, path.name
    for path in (ROOT / "service").rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & TRAINING_ALONE, path.name


@pytest.mark.parametrize("room", FRAMEWORK_FREE)
def test_the_rooms_below_do_not_load_litestar(room: str) -> None:
    check = f"import sys, service.{room}; sys.exit('litestar' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_nothing_but_its_engine_loads_ray() -> None:
    importers = {
        path.stem for path in (ROOT / "service").rglob("*.py") if "ray" in {name.split(".")[0] for name in imported(path)}
    }
    assert importers == {"ray"}
    check = "import sys, service.archive.run, service.server; sys.exit(bool(set(sys.modules) & {'ray', 'pyarrow', 'pandas'}))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_one_version_in_the_whole_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_service_runs_without_what_training_needs() -> None:
    check = f"import sys, service.server; sys.exit(bool(set(sys.modules) & {TRAINING_ALONE!r}))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0

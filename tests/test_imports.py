"""Imports run downward: each wing of a package imports only from those that stand to its right."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.http.status import VERSION
from tests.conftest import ROOT

WINGS = {
    "service": "__main__ start server supervisor app prompt archive open_inference http engine model images settings log "
    "metrics machine memory errors",
    "training": "__main__ commands pipeline estimate tools stages report graph network data vision run_folder allocator "
    "progress config_files config files",
}
SERVICE_FOR_TRAINING = {"model", "images", "errors"}
TRAINING_ALONE = {"torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "onnx", "onnxscript", "training"}
WITHOUT_LITESTAR = [
    "model.classifier",
    "images.decode",
    "images.dicom.radiograph",
    "engine.batcher",
    "errors",
    "archive.run",
    "prompt.run",
]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: relative imports hide where they go"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wings(package: str, path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith(f"{package}.")}


@pytest.mark.parametrize("package", WINGS)
def test_imports_run_downward_between_wings(package: str) -> None:
    order = WINGS[package].split()
    for path in (ROOT / package).rglob("*.py"):
        own = path.relative_to(ROOT / package).with_suffix("").parts[0]
        if own != "__init__":
            assert wings(package, path) <= {own, *order[order.index(own) + 1 :]}, path


def test_training_takes_three_wings_of_the_service_and_the_service_nothing_of_training() -> None:
    for path in (ROOT / "training").rglob("*.py"):
        assert wings("service", path) <= SERVICE_FOR_TRAINING, path
    for path in (ROOT / "service").rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & TRAINING_ALONE, path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        *((f"service.{module}", {"litestar"}) for module in WITHOUT_LITESTAR),
        ("service.server, service.archive.run, service.prompt.run", {"ray", "pyarrow", "pandas", *TRAINING_ALONE}),
    ],
)
def test_a_module_does_not_load_what_it_should_run_without(module: str, absent: set[str]) -> None:
    check = f"import sys, {module}; sys.exit(sorted(set(sys.modules) & {absent}) or 0)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_the_version_stands_once() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION

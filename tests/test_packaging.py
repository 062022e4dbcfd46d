"""The files that Docker, GitHub and shells read follow their schemas, and fit each other."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.engine.compose import Compose, need

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".ci/run", *sorted((ROOT / "docker").glob("*.sh")), *sorted((ROOT / "tests/engine").glob("*.sh"))]
COMPOSE = ROOT / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]  # Any: as compose has it
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.dependabot", ROOT / ".github/dependabot.yml"],
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        [BIN / "zizmor", "--offline", "--quiet", ".github"],  # workflows have no more rights than they need
        [BIN / "shellcheck", "-x", *SCRIPTS],
    ],
    ids=["compose", "dependabot", "workflows", "rights of workflows", "shell scripts"],
)
def test_a_checker_finds_nothing(command: list[str | Path]) -> None:
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_make_passes_names_and_sources_on_as_they_were_given() -> None:
    given = {
        "--data": 'o"x',
        "--positive": "Pleural effusion",
        "--name": "a b",
        "--source": "O'Brien's \"set\", 5 $ `id` \\ #1",
    }
    variables = [f"{option.removeprefix('--').upper()}={value}" for option, value in given.items()]
    printed = subprocess.check_output(["make", "--no-print-directory", "--dry-run", "train", *variables], cwd=ROOT, text=True)
    command = shlex.split(printed.splitlines()[-1])
    assert {option: command[command.index(option) + 1] for option in given} == given
    assert "--weights" not in command


def test_workflows_run_commands_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for command in re.findall(r"^ +- run: (.*)", "".join(path.read_text() for path in WORKFLOWS), flags=re.MULTILINE):
        first, *rest = command.split()
        assert (first == "make" and rest[0] in targets) or (ROOT / first).is_file(), command


def test_installed_packages_fit_together_but_for_those_that_pyproject_leaves_out() -> None:
    left_out = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-dependencies"]
    found = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False).stdout
    expected = [rf"litestar \S+ requires {name}, which is not installed\." for name in left_out]
    assert [
        line for line in found.splitlines() if not re.fullmatch("|".join([*expected, "No broken requirements found."]), line)
    ] == []


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_container_is_locked_up_and_its_image_has_a_version(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "build" in service or re.search(r":v?\d+\.\d", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("drain", ["20", "45"])
def test_a_container_gets_longer_to_stop_than_the_service_takes_to_drain(drain: str) -> None:
    need(["docker", "compose", "version"])
    found = yaml.safe_load(Compose("medxfer-test", {"MEDXFER_DRAIN_SECONDS": drain}).run("config"))["services"]
    for service in ("serving", "replica", "balancer"):
        assert found[service]["stop_grace_period"] == f"{int(drain) + 10}s"
        assert service == "balancer" or found[service]["environment"]["MEDXFER_DRAIN_SECONDS"] == drain


@pytest.mark.parametrize(
    ("weights", "options"), [("", []), ("none", ["--weights", "none"]), ("models/a b.pth", ["--weights", "models/a b.pth"])]
)
def test_compose_trains_with_starting_weights_and_a_configuration_of_ones_own(weights: str, options: list[str]) -> None:
    need(["docker", "compose", "version"])
    compose = Compose("medxfer-test", {"WEIGHTS": weights, "CONFIG": "models/mine.toml"})
    found = yaml.safe_load(compose.run("config"))["services"]["training"]["command"]
    assert found == ["train", "--data", "/data", "--config", "models/mine.toml", *options, "--out", "/models/mine"]


@pytest.mark.parametrize(
    ("driver", "variables", "cpu"),
    [("exit 0", {}, False), ("exit 9", {}, True), ("exit 0", {"DEVICE": "cpu"}, True), ("exit 9", {"DEVICE": "cuda"}, False)],
)
def test_make_installs_torch_for_a_gpu_where_there_is_a_driver(
    tmp_path: Path, driver: str, variables: dict[str, str], cpu: bool
) -> None:
    if driver == "exit 9" and Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a driver")
    for name in ("Makefile", "docker/serving.requirements.txt", "docker/training.requirements.txt", "tests/requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{driver}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "DEVICE"} | variables
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = ["make", "--no-print-directory", "--dry-run", "train", "DATA=path"]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert ("https://download.pytorch.org/whl/cpu" in printed) == cpu
    assert ("--device '" in printed.splitlines()[-1]) == bool(variables)


def test_uvicorn_whose_private_parts_are_overridden_has_an_upper_bound() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bounds] = [dependency for dependency in dependencies if dependency.startswith("uvicorn")]
    assert re.fullmatch(r"uvicorn>=[\d.]+,<[\d.]+", bounds)

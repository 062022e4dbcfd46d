"""Files that Docker, GitHub and shells read: held to their schemas, and to what the project says of itself."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.engine.compose import Compose, have

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".ci/run", *sorted((ROOT / "docker").glob("*.sh")), *sorted((ROOT / "tests/engine").glob("*.sh"))]
COMPOSE = ROOT / "compose.yaml"
SCHEMAS = {
    "vendor.compose-spec": [COMPOSE],
    "vendor.dependabot": [ROOT / ".github/dependabot.yml"],
    "vendor.github-workflows": WORKFLOWS,
}


def check(*command: str | Path) -> None:
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def services() -> dict[str, Any]:  # Any: compose's
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_follow_their_schemas(schema: str) -> None:
    check(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *SCHEMAS[schema])


def test_workflows_may_do_no_more_than_they_need() -> None:
    check(Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", ".github")


def test_shell_scripts_are_sound() -> None:
    check(Path(sys.executable).with_name("shellcheck"), "-x", *SCRIPTS)


def test_workflows_run_what_there_is() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for workflow in WORKFLOWS:
        for command in re.findall(r"^ +- run: (.*)", workflow.read_text(), flags=re.MULTILINE):
            first, *rest = command.split()
            assert (first == "make" and rest[0] in targets) or (ROOT / first).is_file(), command


@pytest.mark.parametrize("service", services())
def test_every_container_is_locked_up_and_its_image_has_a_version(service: str) -> None:
    description = services()[service]
    assert description["cap_drop"] == ["ALL"]
    assert description["security_opt"] == ["no-new-privileges:true"]
    assert "build" in description or re.search(r":v?\d+\.\d", description["image"])
    assert all(port.startswith("127.0.0.1:") for port in description.get("ports", []))


@pytest.mark.parametrize("drain", ["20", "45"])
def test_a_container_gets_longer_to_stop_than_the_service_takes_to_drain(drain: str) -> None:
    have(["docker", "compose", "version"])
    found = yaml.safe_load(Compose("medxfer-test", {"MEDXFER_DRAIN_SECONDS": drain}).run("config"))["services"]
    for service in ("serving", "replica", "balancer"):
        assert found[service]["stop_grace_period"] == f"{int(drain) + 10}s"
        assert service == "balancer" or found[service]["environment"]["MEDXFER_DRAIN_SECONDS"] == drain

"""`docker compose` on this repository, where there is an engine that has the images or can get them."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

BASE = "python:3.13-slim"


class Compose:
    """One project of compose.yaml's."""

    def __init__(self, project: str, variables: dict[str, object]) -> None:
        self.environment = {**os.environ, "COMPOSE_PROJECT_NAME": project}
        self.environment |= {name: str(value) for name, value in variables.items()}

    def run(self, *arguments: str) -> str:
        process = subprocess.run(
            ["docker", "compose", "--profile", "*", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def containers(self, service: str) -> list[str]:
        """Those that have ended, too."""
        return self.run("ps", "--all", "--quiet", service).split()

    def running(self, service: str) -> list[str]:
        return self.run("ps", "--quiet", service).split()


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def log(container: str, message: str) -> list[dict[str, object]]:
    """Its lines that are JSON and have that message, once it has had a moment to write the last of them."""
    time.sleep(0.2)
    process = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    lines = []
    for line in (process.stdout + process.stderr).splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return [line for line in lines if line["message"] == message]


@contextlib.contextmanager
def running(*services: str, **variables: object) -> Iterator[Compose]:
    """Those services, healthy; skips where an engine or an image is not to be had. Takes down what it started."""
    compose = Compose(f"medxfer-test-{os.getpid()}", variables)
    have(["docker", "compose", "version"])
    have(["docker", "info"])
    for image in [BASE, *compose.run("config", "--images", *services).split()]:
        if not image.startswith("medxfer-"):
            have(["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    try:
        compose.run("up", "--build", "--wait", *services)
        yield compose
    finally:
        compose.run("down", "--volumes", "--timeout", "1")


def have(*ways: list[str]) -> None:
    """By the first of these commands that succeeds; skips the test by what the last one says."""
    said = ""
    for way in ways:
        if not shutil.which(way[0]):
            pytest.skip(f"no {way[0]} here")
        process = subprocess.run(way, capture_output=True, text=True, check=False)
        if process.returncode == 0:
            return
        said = f"{' '.join(way)}: {(process.stderr.strip().splitlines() or ['failed'])[-1]}"
    pytest.skip(said)

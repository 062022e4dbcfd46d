"""`docker compose` on this repository, where Docker and the images are available."""

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

    def containers(self, service: str, *options: str) -> list[str]:
        return self.run("ps", "--quiet", *options, service).split()


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def log(container: str, message: str) -> list[dict[str, object]]:
    """The JSON log lines with a message, once the container had a moment to write the last of them."""
    time.sleep(0.2)
    process = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    lines = []
    for line in (process.stdout + process.stderr).splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return [line for line in lines if line["message"] == message]


@contextlib.contextmanager
def running(*services: str, **variables: object) -> Iterator[Compose]:
    """Healthy services, taken down at the end. Skips the test without Docker or an image."""
    compose = Compose(f"medxfer-test-{os.getpid()}", variables)
    need(["docker", "compose", "version"])
    need(["docker", "info"])
    for image in [BASE, *compose.run("config", "--images", *services).split()]:
        if not image.startswith("medxfer-"):
            need(["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    try:
        compose.run("up", "--build", "--wait", *services)
        yield compose
    finally:
        compose.run("down", "--volumes", "--timeout", "1")


def need(*commands: list[str]) -> None:
    for command in commands:
        if shutil.which(command[0]) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    pytest.skip(f"«{' '.join(commands[-1])}» fails")

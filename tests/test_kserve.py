"""What the example for KServe says of the container is so."""

import re

import httpx

from service.settings import Settings
from tests.conftest import ROOT

EXAMPLE = (ROOT / "docker/kubernetes/kserve.yaml").read_text(encoding="utf-8")


def found(pattern: str) -> str:
    [value] = re.findall(pattern, EXAMPLE)
    return str(value)


def test_its_probes_ask_what_is_answered(client: httpx.Client) -> None:
    paths = re.findall(r"httpGet: {path: ([^,]+),", EXAMPLE)
    assert len(paths) == 3
    for path in paths:
        assert client.get(path).status_code == 200


def test_user_and_port_are_those_of_the_image() -> None:
    dockerfile = (ROOT / "docker/serving.Dockerfile").read_text(encoding="utf-8")
    assert f"USER {found('runAsUser: (.+)')}:{found('runAsGroup: (.+)')}\n" in dockerfile
    assert f"EXPOSE {found('containerPort: ([0-9]+)')}\n" in dockerfile


def test_a_pod_has_the_time_to_drain() -> None:
    grace, pause = (int(found(pattern)) for pattern in (r"terminationGracePeriodSeconds: (\d+)", r"sleep: {seconds: (\d+)}"))
    assert grace > pause + Settings().drain_seconds

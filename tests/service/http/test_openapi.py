"""Schemathesis: what OpenAPI says of the interface, and what the interface does, are the same."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import running_service

EXAMPLES = 100  # for each operation


@pytest.mark.parametrize("token", ["", "s3cret-token"])
def test_the_interface_does_what_openapi_says(token: str, tmp_path: Path) -> None:
    with running_service(token=token) as client:
        config = Path(__file__).with_name("schemathesis.toml")
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        options = ["--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"]
        headers = ["--header", f"Authorization: Bearer {token}"] if token else []
        found = subprocess.run(
            [*command, *options, *headers, f"{client.base_url}/schema/openapi.json"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
        assert client.get("/health").status_code == 200


def test_every_operation_says_which_problems_it_answers_by(client: httpx.Client) -> None:
    paths = client.get("/schema/openapi.json").json()["paths"]
    for path in ("/predict", "/predict/batch"):
        responses = paths[path]["post"]["responses"]
        assert {"200", "400", "401", "408", "413", "415", "422", "429", "503", "504"} == set(responses)
        assert all(
            "application/problem+json" in response["content"] for status, response in responses.items() if status != "200"
        )

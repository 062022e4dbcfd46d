"""The contract: the OpenAPI description, which Schemathesis compares with the interface, and the types of problems."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service import errors
from tests.conftest import running_service

# Clients match on the `type` of a problem: it stays when a class is renamed.
PROBLEMS = {
    "MalformedRequest": (400, "malformed-request"),
    "WrongParameter": (400, "wrong-parameter"),
    "Unauthorized": (401, "unauthorized"),
    "UnknownAddress": (404, "unknown-address"),
    "UnknownModel": (404, "unknown-model"),
    "WrongMethod": (405, "wrong-method"),
    "TooSlow": (408, "too-slow"),
    "BodyTooLarge": (413, "body-too-large"),
    "UnsupportedEncoding": (415, "unsupported-encoding"),
    "UnsupportedImage": (415, "unsupported-image"),
    "ImageError": (422, "image-error"),
    "UndecodableImage": (422, "undecodable-image"),
    "UnreadableFile": (422, "unreadable-file"),
    "ImageOutOfRange": (422, "image-out-of-range"),
    "Overloaded": (429, "overloaded"),
    "HeadTooLarge": (431, "head-too-large"),
    "InternalError": (500, "internal-error"),
    "NotReady": (503, "not-ready"),
    "NoAnswer": (503, "no-answer"),
    "DeadlineExceeded": (504, "deadline-exceeded"),
}
CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_the_interface_does_what_openapi_describes(tmp_path: Path) -> None:
    with running_service(token="s3cret-token") as client:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", "--checks", "all"]
        command += ["--max-examples", "15", "--seed", "1", "--no-color"]
        command += ["--header", "Authorization: Bearer s3cret-token", f"{client.base_url}/schema/openapi.json"]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_predictions_describe_their_bodies_and_problems(client: httpx.Client, path: str) -> None:
    paths = client.get("/schema/openapi.json").raise_for_status().json()["paths"]
    assert set(paths["/predict"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    described = {status: set(answer["content"]) for status, answer in paths[path]["post"]["responses"].items()}
    assert described.pop("200") == {"application/json"}
    assert set(described) == {"400", "401", "408", "413", "415", "422", "429", "503", "504"}
    assert set.union(*described.values()) == {"application/problem+json"}


def test_no_error_changes_its_status_or_the_type_of_its_problem() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RequestError)]
    found = {kind.__name__: (kind.status, kind.type) for kind in classes if kind is not errors.RequestError}
    assert found == {name: (status, f"urn:medxfer:problem:{word}") for name, (status, word) in PROBLEMS.items()}

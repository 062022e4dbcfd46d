"""Which addresses need the token, where the operator has set one."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import running_service
from tests.service.http.helpers import INFER, MODEL, PNG, assert_problem, infer_body

GUARDED = ("/metrics", "/model-info", "/report/index.html", "/v2", f"/v2/models/{MODEL}")
PUBLIC = (
    "/",
    "/docs",
    "/examples/normal-1.jpeg",
    "/web/main.js",
    "/health",
    "/health/live",
    "/v2/health/live",
    "/v2/health/ready",
    f"/v2/models/{MODEL}/ready",
)


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    with running_service(token="s3cret-token") as client:
        yield client


def answers(service: httpx.Client, offered: str) -> list[httpx.Response]:
    headers = {"authorization": offered} if offered else {}
    predicted = service.post("/predict", content=PNG, headers=headers)
    batch = service.post("/predict/batch", files={"images": PNG}, headers=headers)
    inferred = service.post(INFER, json=infer_body(PNG), headers=headers)
    return [predicted, batch, inferred, *(service.get(path, headers=headers) for path in GUARDED)]


@pytest.mark.parametrize("offered", ["", "Bearer s3cret", "Basic s3cret-token"])
def test_a_request_without_the_token_is_rejected(service: httpx.Client, offered: str) -> None:
    for answer in answers(service, offered):
        assert_problem(answer, 401, "Bearer")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("offered", ["Bearer s3cret-token", "bearer  s3cret-token"])
def test_a_request_with_the_token_is_answered(service: httpx.Client, offered: str) -> None:
    assert {answer.status_code for answer in answers(service, offered)} == {200}


def test_pages_and_health_need_no_token(service: httpx.Client) -> None:
    assert {path: service.get(path).status_code for path in PUBLIC} == dict.fromkeys(PUBLIC, 200)

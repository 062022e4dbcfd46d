"""Which addresses need the token, where the operator has set one."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import running_service
from tests.service.http.helpers import INFER, MODEL, PNG, assert_problem, infer_body

GUARDED = ("/metrics", "/model-info", "/report/index.html", "/v2", f"/v2/models/{MODEL}")
PUBLIC = ("/", "/web/main.js", "/health", "/health/live", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}/ready")


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    with running_service(token="s3cret-token") as client:
        yield client


@pytest.mark.parametrize("offered", [{}, {"authorization": "Bearer s3cret"}, {"authorization": "Basic s3cret-token"}])
def test_a_request_without_the_token_is_rejected(service: httpx.Client, offered: dict[str, str]) -> None:
    answers = [service.get(path, headers=offered) for path in GUARDED]
    answers += [service.post(path, content=PNG, headers=offered) for path in ("/predict", "/predict/batch", INFER)]
    for answer in answers:
        assert_problem(answer, 401, "Bearer")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("offered", ["Bearer s3cret-token", "bearer  s3cret-token"])
def test_a_request_with_the_token_is_answered(service: httpx.Client, offered: str) -> None:
    headers = {"authorization": offered}
    answers = [service.get(path, headers=headers) for path in GUARDED]
    answers.append(service.post("/predict", content=PNG, headers=headers))
    answers.append(service.post("/predict/batch", files={"images": PNG}, headers=headers))
    answers.append(service.post(INFER, json=infer_body(PNG), headers=headers))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("path", PUBLIC)
def test_pages_and_health_need_no_token(service: httpx.Client, path: str) -> None:
    assert service.get(path).status_code == 200

"""What compose.yaml's profile `observe` is made of, asked of the Prometheus that it starts: alerts and the dashboard."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from tests.conftest import ROOT, encode, free_port, grey
from tests.engine.compose import running

OBSERVE = ROOT / "docker/observe"
DASHBOARD = OBSERVE / "grafana/dashboards/medxfer.json"
TOKEN = "s3cret"
QUIET = {"Turned away"}  # shows nothing where all is well
MINUTE = 60  # to be scraped twice


def panels() -> dict[str, list[str]]:
    """The queries of each panel, by its title."""
    dashboard: Any = json.loads(DASHBOARD.read_text())  # Any: Grafana's
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in dashboard["panels"]}


def query(prometheus: httpx.Client, expression: str) -> list[Any]:  # Any: Prometheus's
    answer = prometheus.get("/api/v1/query", params={"query": expression.replace("$__rate_interval", "1m")})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    found: list[Any] = answer.json()["data"]["result"]
    return found


@pytest.fixture(scope="module")
def prometheus() -> Iterator[httpx.Client]:
    """One that watches a service which answers, and which asks for a token."""
    port, own_port = free_port(), free_port()
    image, headers = encode(grey(640, 500)), {"Authorization": f"Bearer {TOKEN}"}
    with (
        running("serving", "prometheus", PORT=port, PROMETHEUS_PORT=own_port, MEDXFER_TOKEN=TOKEN),
        httpx.Client(base_url=f"http://127.0.0.1:{own_port}", trust_env=False) as client,
    ):
        end = time.monotonic() + MINUTE
        while not any(float(each["value"][1]) for each in query(client, panels()["Requests"][0])):
            assert time.monotonic() < end, client.get("/api/v1/targets").text
            httpx.post(f"http://127.0.0.1:{port}/predict", content=image, headers=headers, trust_env=False).raise_for_status()
            time.sleep(0.5)
        yield client


def test_grafana_reads_the_dashboard_as_it_is_meant() -> None:
    dashboard = Dashboard.from_json(json.loads(DASHBOARD.read_text()))
    assert dashboard.title == "MedXfer"
    assert [panel.title for panel in dashboard.panels or [] if isinstance(panel, Panel)] == list(panels())


def test_the_panels_lie_side_by_side_and_have_one_source() -> None:
    [source] = yaml.safe_load((OBSERVE / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    boards = json.loads(DASHBOARD.read_text())["panels"]
    assert {board["datasource"]["uid"] for board in boards} == {source["uid"]}
    assert len({(board["gridPos"]["x"], board["gridPos"]["y"]) for board in boards}) == len(boards)


def test_every_panel_shows_something(prometheus: httpx.Client) -> None:
    for title, expressions in panels().items():
        for expression in expressions:
            assert query(prometheus, expression) or title in QUIET, f"{title}: {expression}"


def test_every_alert_can_be_told_and_none_is_where_all_is_well(prometheus: httpx.Client) -> None:
    [group] = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    alerts = [rule["alert"] for rule in yaml.safe_load((OBSERVE / "alerts.yml").read_text())["groups"][0]["rules"]]
    assert [rule["name"] for rule in group["rules"]] == alerts
    for rule in group["rules"]:
        assert query(prometheus, rule["query"]) == [], rule["name"]


def test_every_metric_that_is_asked_for_is_one_of_the_services(prometheus: httpx.Client) -> None:
    known = set(prometheus.get("/api/v1/label/__name__/values").json()["data"])
    asked = DASHBOARD.read_text() + (OBSERVE / "alerts.yml").read_text()
    assert set(re.findall(r"\bmedxfer_\w+", asked)) <= known

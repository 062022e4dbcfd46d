"""Alerts and dashboard of compose.yaml's profile `observe`, tried on the Prometheus that it starts."""

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
DASHBOARD = (OBSERVE / "grafana/dashboards/medxfer.json").read_text()
ALERTS = (OBSERVE / "alerts.yml").read_text()
PANELS: list[dict[str, Any]] = json.loads(DASHBOARD)["panels"]  # Any: as Grafana has it
TOKEN = "s3cret"
QUIET = {"Turned away"}  # the panels that show nothing while all is well
SECONDS = 60  # for the first two scrapes


def query(prometheus: httpx.Client, expression: str) -> list[Any]:  # Any: as Prometheus has it
    answer = prometheus.get("/api/v1/query", params={"query": expression.replace("$__rate_interval", "1m")})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    found: list[Any] = answer.json()["data"]["result"]
    return found


@pytest.fixture(scope="module")
def prometheus() -> Iterator[httpx.Client]:
    port, own_port = free_port(), free_port()
    image, headers = encode(grey(640, 500)), {"Authorization": f"Bearer {TOKEN}"}
    [requests] = (panel["targets"][0]["expr"] for panel in PANELS if panel["title"] == "Requests")
    with (
        running("serving", "prometheus", PORT=port, PROMETHEUS_PORT=own_port, MEDXFER_TOKEN=TOKEN),
        httpx.Client(base_url=f"http://127.0.0.1:{own_port}", trust_env=False) as client,
    ):
        end = time.monotonic() + SECONDS
        while not any(float(each["value"][1]) for each in query(client, requests)):
            assert time.monotonic() < end, client.get("/api/v1/targets").text
            httpx.post(f"http://127.0.0.1:{port}/predict", content=image, headers=headers, trust_env=False).raise_for_status()
            time.sleep(0.5)
        yield client


def test_grafanas_own_library_reads_the_dashboard_whose_panels_lie_side_by_side_and_have_one_source() -> None:
    dashboard = Dashboard.from_json(json.loads(DASHBOARD))
    assert dashboard.title == "MedXfer"
    titles = [panel.title for panel in dashboard.panels or [] if isinstance(panel, Panel)]
    assert titles == [panel["title"] for panel in PANELS]
    [source] = yaml.safe_load((OBSERVE / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}) == len(PANELS)


def test_every_panel_shows_something_and_every_metric_that_is_queried_is_one_of_the_service(prometheus: httpx.Client) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            assert query(prometheus, target["expr"]) or panel["title"] in QUIET, f"{panel['title']}: {target['expr']}"
    known = set(prometheus.get("/api/v1/label/__name__/values").json()["data"])
    assert set(re.findall(r"\bmedxfer_\w+", DASHBOARD + ALERTS)) <= known


def test_prometheus_knows_every_alert_and_raises_none_while_all_is_well(prometheus: httpx.Client) -> None:
    [group] = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in yaml.safe_load(ALERTS)["groups"][0]["rules"]]
    for rule in group["rules"]:
        assert query(prometheus, rule["query"]) == [], rule["name"]

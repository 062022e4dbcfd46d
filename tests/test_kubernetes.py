"""The Kubernetes manifests are valid, and fit each other and the service. No test uses a cluster."""

import re
import shutil
import subprocess
from typing import Any, TypeAlias

import httpx
import kubernetes_validate
import pytest
import yaml

from service.http.status import VERSION
from service.images.dicom import sandbox
from service.settings import SECRET, Settings, read_settings
from tests.benchmarks import results
from tests.conftest import ROOT
from tests.documents import KUBERNETES, blocks, read

FOLDER = ROOT / "docker/kubernetes"
DOCKERFILE = (ROOT / "docker/serving.Dockerfile").read_text(encoding="utf-8")
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
UNITS = {"Mi": 2**20, "Gi": 2**30}

Manifest: TypeAlias = dict[str, Any]  # Any: as deep as YAML is


def manifests(name: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")) if manifest]


[KUSTOMIZATION] = manifests("kustomization.yaml")
MANIFESTS = {each["kind"]: each for name in KUSTOMIZATION["resources"] for each in manifests(name)}
SETTINGS = read_settings(dict(literal.split("=") for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"]))
POD = MANIFESTS["Deployment"]["spec"]["template"]
[KSERVE] = manifests("kserve.yaml")
PODS = {"ours": POD["spec"], "KServe's": KSERVE["spec"]["predictor"]}
for_each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def bytes_of(memory: str) -> int:
    return int(memory[:-2]) * UNITS[memory[-2:]]


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """By kind: what the kustomization of the README builds, with all components."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which builds kustomizations, is missing")
    folder = tmp_path_factory.mktemp("overlay")
    shutil.copytree(FOLDER, folder / "medxfer/docker/kubernetes")
    (folder / "ours").mkdir()
    [shown] = blocks(KUBERNETES, "yaml")
    (folder / "ours/kustomization.yaml").write_text(shown)
    built = subprocess.run(["kubectl", "kustomize", folder / "ours"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(built.stdout) if manifest}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_manifests_fit_the_schemas(version: str) -> None:
    container = {"containers": KSERVE["spec"]["predictor"]["containers"]}  # the rest of KServe's has no schema here
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "medxfer"}, "spec": container}
    for manifest in [*MANIFESTS.values(), pod]:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_overlay_of_the_readme_fits_the_schemas_and_changes_what_it_says(overlay: dict[str, Manifest]) -> None:
    assert overlay.keys() == {*MANIFESTS, "ConfigMap", "ServiceMonitor"}
    for kind in overlay.keys() - {"ServiceMonitor"}:  # whose schema belongs to the Prometheus operator
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(overlay[kind], version, strict=True)
    [container] = overlay["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.org/medxfer-serving:{VERSION}"
    assert container["envFrom"][0]["configMapRef"]["name"] == overlay["ConfigMap"]["metadata"]["name"]
    assert read_settings(overlay["ConfigMap"]["data"]).variant == "fp32"
    assert [metric["type"] for metric in overlay["HorizontalPodAutoscaler"]["spec"]["metrics"]] == ["ContainerResource", "Pods"]
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert container["env"][0]["name"] == SECRET
    command = f"create secret generic {secret['name']} --from-literal={secret['key']}="
    assert command in (FOLDER / "token/kustomization.yaml").read_text()
    assert overlay["ServiceMonitor"]["spec"]["endpoints"][0]["authorization"]["credentials"] == secret


def test_every_file_is_named_in_the_readme_or_by_its_kustomization() -> None:
    for path in FOLDER.rglob("*.yaml"):
        named = read(KUBERNETES) + (path.parent / "kustomization.yaml").read_text()
        assert f"{path.relative_to(FOLDER)})" in named or f"- {path.name}\n" in named, path


def test_selectors_ports_and_the_autoscaler_fit_the_pods_and_nothing_goes_out() -> None:
    kinds = ("Deployment", "NetworkPolicy", "HorizontalPodAutoscaler")
    deployment, policy, scaler = (MANIFESTS[kind]["spec"] for kind in kinds)
    labels, [container] = POD["metadata"]["labels"].items(), POD["spec"]["containers"]
    spread = [constraint["labelSelector"] for constraint in POD["spec"]["topologySpreadConstraints"]]
    selectors = [deployment["selector"], MANIFESTS["PodDisruptionBudget"]["spec"]["selector"], policy["podSelector"], *spread]
    for selected in [MANIFESTS["Service"]["spec"]["selector"], *(selector["matchLabels"] for selector in selectors)]:
        assert selected.items() <= labels
    name = MANIFESTS["Deployment"]["metadata"]["name"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert scaler["metrics"][0]["containerResource"]["container"] == container["name"]
    assert "replicas" not in deployment
    [port] = container["ports"]
    assert port["containerPort"] == Settings().port
    assert [each["targetPort"] for each in MANIFESTS["Service"]["spec"]["ports"]] == [port["name"]]
    assert [each["port"] for rule in policy["ingress"] for each in rule["ports"]] == [Settings().port]
    assert "Egress" in policy["policyTypes"]
    assert "egress" not in policy


@for_each_pod
def test_a_pod_fits_the_image_and_the_service(pod: Manifest, client: httpx.Client) -> None:
    [container], context = pod["containers"], pod["securityContext"]
    [port] = container["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in DOCKERFILE
    for probe in (container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")):
        assert probe["port"] in (port["name"], port["containerPort"])
        assert client.get(probe["path"]).status_code == 200, probe["path"]


def test_prometheus_finds_the_service_and_scales_by_a_metric_that_it_has(client: httpx.Client) -> None:
    spec, service = manifests("monitor/monitor.yaml")[0]["spec"], MANIFESTS["Service"]
    metrics = client.get(spec["endpoints"][0]["path"]).raise_for_status().text
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert spec["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    [component], [values] = manifests("in-flight/kustomization.yaml"), manifests("in-flight/adapter.yaml")
    [added] = yaml.safe_load(component["patches"][0]["patch"])
    metric = added["value"]["pods"]["metric"]["name"]
    assert re.search(rf"^{metric} \d", metrics, flags=re.MULTILINE)
    assert [rule["seriesQuery"].partition("{")[0] for rule in values["rules"]["custom"]] == [metric]


@for_each_pod
def test_a_pod_has_the_time_to_drain_and_the_watchdog_acts_before_the_liveness_probe(pod: Manifest) -> None:
    [container] = pod["containers"]
    read_settings({each["name"]: each["value"] for each in container.get("env", [])})
    wait, probe = container["lifecycle"]["preStop"]["sleep"]["seconds"], container["livenessProbe"]
    assert pod["terminationGracePeriodSeconds"] > wait + SETTINGS.drain_seconds
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > SETTINGS.watchdog_seconds


@for_each_pod
def test_memory_is_enough_for_the_largest_images_in_every_lane(pod: Manifest) -> None:
    resources = pod["containers"][0]["resources"]
    ours = max(rss for model in results.newest().models if model.own for rss in model.own.growth.rss)
    decoding = int(resources["limits"]["cpu"]) * sandbox.MAX_BYTES / 2  # what 40 megapixels of JPEG 2000 take, by lane
    assert bytes_of(resources["limits"]["memory"]) > ours + decoding + 2 * Settings().queue_bytes
    assert bytes_of(resources["requests"]["memory"]) > 2 * ours

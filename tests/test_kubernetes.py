"""The manifests are what Kubernetes takes, and fit each other and the service. No cluster is asked."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import kubernetes_validate
import pytest
import yaml

from service.http.info import VERSION
from service.images.dicom import sandbox
from service.settings import SECRET, Settings, read_settings
from tests.benchmarks import results
from tests.conftest import ROOT

FOLDER = ROOT / "docker/kubernetes"
DOCKERFILE = (ROOT / "docker/serving.Dockerfile").read_text(encoding="utf-8")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
COMPONENTS = ["monitor", "in-flight", "token"]
IN_REGISTRY = "registry.example.org/medxfer-serving"
UNITS = {"Mi": 2**20, "Gi": 2**30}

Manifest: TypeAlias = dict[str, Any]  # Any: as deep as YAML is


def read(path: Path) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")) if manifest]


[KUSTOMIZATION] = read(FOLDER / "kustomization.yaml")
MANIFESTS = {each["kind"]: each for name in KUSTOMIZATION["resources"] for each in read(FOLDER / name)}
LITERALS = dict(literal.split("=") for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"])
POD = MANIFESTS["Deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
[KSERVE] = read(FOLDER / "kserve.yaml")
PODS = {"ours": POD["spec"], "KServe's": KSERVE["spec"]["predictor"]}
of_each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
MONITOR = FOLDER / "monitor/monitor.yaml"


def is_selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def kustomize(folder: Path) -> list[Manifest]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which builds kustomizations, is not here")
    built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return [manifest for manifest in yaml.safe_load_all(built.stdout) if manifest]


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """The one that the README shows, with the folder where it expects it."""
    shutil.copytree(FOLDER, tmp_path / "medxfer/docker/kubernetes")
    (tmp_path / "ours").mkdir()
    [shown] = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "ours/kustomization.yaml").write_text(shown)
    return tmp_path / "ours"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_manifests_fit_the_schemas(version: str) -> None:
    for manifest in MANIFESTS.values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_so_does_what_kustomize_makes_of_them_with_all_components(overlay: Path, version: str) -> None:
    built = kustomize(overlay)
    assert {each["kind"] for each in built} == {*MANIFESTS, "ConfigMap", "ServiceMonitor"}
    for manifest in built:
        if manifest["kind"] != "ServiceMonitor":  # its schema belongs to the Prometheus operator
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_overlay_of_the_readme_changes_what_it_says(overlay: Path) -> None:
    built = {each["kind"]: each for each in kustomize(overlay)}
    [container] = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{IN_REGISTRY}:{VERSION}"
    assert container["envFrom"][0]["configMapRef"]["name"] == built["ConfigMap"]["metadata"]["name"]
    assert read_settings(built["ConfigMap"]["data"]).variant == "fp32"
    assert [metric["type"] for metric in built["HorizontalPodAutoscaler"]["spec"]["metrics"]] == ["ContainerResource", "Pods"]
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert container["env"][0]["name"] == SECRET
    made = (FOLDER / "token/kustomization.yaml").read_text()
    assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in made
    assert built["ServiceMonitor"]["spec"]["endpoints"][0]["authorization"]["credentials"] == secret


def test_as_they_stand_they_name_this_version_and_no_registry() -> None:
    [deployment] = (each for each in kustomize(FOLDER) if each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"medxfer-serving:{VERSION}"


def test_the_container_for_kserve_fits_the_schema() -> None:
    spec = {"containers": KSERVE["spec"]["predictor"]["containers"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "medxfer"}, "spec": spec}
    kubernetes_validate.validate(pod, NEWEST, strict=True)
    read_settings({each["name"]: each["value"] for each in spec["containers"][0]["env"]})


def test_every_file_is_used_or_named_in_the_readme() -> None:
    used = {*KUSTOMIZATION["resources"], "kustomization.yaml", "README.md"}
    for component in COMPONENTS:
        [made] = read(FOLDER / component / "kustomization.yaml")
        used |= {f"{component}/{name}" for name in ["kustomization.yaml", *made.get("resources", [])]}
    for path in FOLDER.rglob("*.*"):
        name = path.relative_to(FOLDER).as_posix()
        assert name in used or f"]({name})" in README, name


def test_paths_and_links_of_the_readme_exist() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert path.startswith("https://") or (FOLDER / path).exists(), path
    for path in re.findall(r"(?<=\s)(?:docker|models)/[\w./-]+", README):
        assert (ROOT / path.rstrip(".")).exists() or path == "models/mine", path


def test_selectors_select_the_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert is_selected(labels, MANIFESTS["Service"]["spec"]["selector"])
    for selector in (
        MANIFESTS["Deployment"]["spec"]["selector"],
        MANIFESTS["PodDisruptionBudget"]["spec"]["selector"],
        MANIFESTS["NetworkPolicy"]["spec"]["podSelector"],
        *(constraint["labelSelector"] for constraint in POD["spec"]["topologySpreadConstraints"]),
    ):
        assert is_selected(labels, selector["matchLabels"])


def test_the_autoscaler_scales_the_deployment_and_its_container() -> None:
    spec, deployment = MANIFESTS["HorizontalPodAutoscaler"]["spec"], MANIFESTS["Deployment"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]
    }  # fmt: skip
    assert spec["metrics"][0]["containerResource"]["container"] == CONTAINER["name"]
    assert "replicas" not in deployment["spec"]


def test_ports_lead_to_the_service() -> None:
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == Settings().port
    assert [each["targetPort"] for each in MANIFESTS["Service"]["spec"]["ports"]] == [port["name"]]
    [rule] = MANIFESTS["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [Settings().port]


@of_each_pod
def test_probes_ask_at_the_port_of_the_image_what_the_service_answers(pod: Manifest, client: httpx.Client) -> None:
    [container] = pod["containers"]
    [port] = container["ports"]
    [exposed] = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, flags=re.MULTILINE)
    assert str(port["containerPort"]) == exposed
    for asked in (container[probe]["httpGet"] for probe in PROBES):
        assert asked["port"] in (port["name"], port["containerPort"])
        assert client.get(asked["path"]).status_code == 200, asked["path"]


def test_nothing_goes_out() -> None:
    spec = MANIFESTS["NetworkPolicy"]["spec"]
    assert "Egress" in spec["policyTypes"]
    assert "egress" not in spec


def test_prometheus_finds_the_service_and_asks_what_it_answers(client: httpx.Client) -> None:
    spec = read(MONITOR)[0]["spec"]
    assert client.get(spec["endpoints"][0]["path"]).status_code == 200
    assert is_selected(MANIFESTS["Service"]["metadata"]["labels"], spec["selector"]["matchLabels"])
    assert spec["endpoints"][0]["port"] in [port["name"] for port in MANIFESTS["Service"]["spec"]["ports"]]


def test_the_metric_to_scale_by_is_one_that_the_service_has(client: httpx.Client) -> None:
    [component], [values] = read(FOLDER / "in-flight/kustomization.yaml"), read(FOLDER / "in-flight/adapter.yaml")
    [added] = yaml.safe_load(component["patches"][0]["patch"])
    metric = added["value"]["pods"]["metric"]["name"]
    assert re.search(rf"^{metric} \d", client.get("/metrics").text, flags=re.MULTILINE)
    assert [rule["seriesQuery"].partition("{")[0] for rule in values["rules"]["custom"]] == [metric]


def test_the_settings_are_settings() -> None:
    read_settings(LITERALS)


@of_each_pod
def test_a_pod_has_the_time_to_drain(pod: Manifest) -> None:
    wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > wait + read_settings(LITERALS).drain_seconds


@of_each_pod
def test_the_watchdog_comes_before_the_liveness_probe(pod: Manifest) -> None:
    probe = pod["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > Settings().watchdog_seconds


@of_each_pod
def test_the_user_is_that_of_the_image(pod: Manifest) -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE)
    context = pod["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user


@of_each_pod
def test_memory_is_enough_for_the_largest_images_in_every_lane(pod: Manifest) -> None:
    resources = pod["containers"][0]["resources"]
    lanes = int(resources["limits"]["cpu"])
    ours = max(rss for model in results.read().models if model.own for rss in model.own.growth.rss)
    decoding = lanes * sandbox.MAX_BYTES / 2  # what 40 megapixels of JPEG 2000 take
    assert in_bytes(resources["limits"]["memory"]) > ours + decoding + 2 * Settings().queue_bytes
    assert in_bytes(resources["requests"]["memory"]) > 2 * ours


def in_bytes(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]

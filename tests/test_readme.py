"""The documents do what they say: commands run, settings exist, links lead somewhere, figures are those that were measured."""

import contextlib
import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from service.settings import Settings
from tests.benchmarks import archive, headlines, page, report, results, servers, training
from tests.conftest import DEFAULT_MODEL, ROOT, dicom_of, free_port, wait_until_ready
from tests.documents import DOCUMENTS, KUBERNETES, README, SERVICE, TRAINING, block, blocks, commands, prose, read
from tests.torture import report as torture_report
from tests.torture import results as torture_results
from training.__main__ import main as training_main
from training.data import phantoms

MAKE = [command for command in commands() if re.match(r"(\w+=\S+ )*make ", command)]
TESTED = r"make |docker compose |docker/smoke|curl |\.venv/bin/python -m (training|service predict|pytest tests/)"


def without_variables(command: str) -> str:
    return re.sub(r"^(\w+=\S+ )*", "", command)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files, this environment, some drawn X-rays, and two data folders. `models/mine` is the default model."""
    folder = tmp_path_factory.mktemp("clone")
    tracked = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT).decode().split("\0")
    for name in filter(None, tracked):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
        os.utime(folder / name, (0, 0))  # older than the environment, so that make leaves that as it is
    if not (Path(sys.prefix) / "everything").exists():
        pytest.skip("make did not create this environment, and would change it")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    shutil.copytree(DEFAULT_MODEL, folder / "models/mine")
    phantoms.write_data_set(folder / "path/to/chest_xray", 120)
    phantoms.write_data_set(folder / "drawn", 20)
    (folder / "drawn/train").rename(folder / "path/to/labelled")
    first, second = sorted((folder / "path/to/labelled/PNEUMONIA").iterdir())[:2]
    for source, name in [(first, "xray.jpeg"), (second, "another.jpeg")]:
        shutil.copy(source, folder / name)
    shutil.copytree(folder / "path/to/labelled/NORMAL", folder / "path/to/archive/2024")
    for name in ("path/to/archive/2024/radiograph.dcm", "xray.dcm"):
        (folder / name).write_bytes(dicom_of(np.asarray(Image.open(first).convert("L"))))
    return folder


@pytest.fixture(scope="module")
def service(clone: Path) -> Iterator[httpx.Client]:
    assert "make serve" in MAKE
    port = free_port()
    process = subprocess.Popen(
        ["make", "serve"], cwd=clone, env={**os.environ, "MEDXFER_PORT": str(port)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until_ready(str(client.base_url), process)
            yield client
    finally:
        os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=30)[0]


def run_python(document: str, word: str, folder: Path, before: str, after: str) -> dict[str, Any]:  # Any: all that it defines
    """Runs the code block with this word in `folder`. `before`, an address or a file in it, becomes `after`."""
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(block(document, "python", word).replace(before, after), names)
    return names


def run(command: str, folder: Path) -> str:
    process = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_the_curl_commands_print_what_the_readme_shows(clone: Path, service: httpx.Client) -> None:
    curl, address = [command for command in commands(SERVICE) if command.startswith("curl ")], service.base_url.netloc.decode()
    assert {command for command in commands() if command.startswith("curl ")} == set(curl)
    form, raw, batch, health = (json.loads(run(line.replace("localhost:8000", address), clone)) for line in curl)
    assert list(form) == list(json.loads(blocks(README, "json")[0]))
    assert form["probabilities"] == raw["probabilities"]
    assert "heatmap" in raw
    assert [list(result) for result in batch["results"]] == [["prediction"], ["prediction"]]
    assert health == {"status": "ready"}


def test_the_commands_of_the_page_of_the_api_are_answered(clone: Path, service: httpx.Client) -> None:
    info, page = service.get("/model-info").json(), service.get("/docs").text
    for command in re.findall(r"<pre>((?:curl|printf) .*?)</pre>", page, flags=re.DOTALL):
        line = html.unescape(command).replace("localhost:8000", service.base_url.netloc.decode()).replace("NAME", info["name"])
        (clone / "xray.png").unlink(missing_ok=True)
        answer = run(line.replace("curl ", "curl --fail-with-body -sS "), clone)
        assert (clone / "xray.png").read_bytes()[1:4] == b"PNG" if "xray.png" in line else answer
        assert "urn:medxfer:problem" not in answer, command


def test_the_archive_commands_leave_a_row_for_each_file(clone: Path) -> None:
    files = [path for path in (clone / "path/to/archive").rglob("*") if path.is_file()]
    folder, glob, cluster = (command for command in commands(SERVICE) if "service predict" in command and "--out" in command)
    assert f"{len(files)} rows, 0 of them refused" in run(folder, clone)
    run(glob, clone)
    assert parquet.read_table(clone / "results.parquet")["path"].to_pylist() == ["2024/radiograph.dcm"]
    run(f"{cluster} --help", clone)  # checks the options; test_ray.py runs them on a cluster


def test_the_commands_at_the_prompt_print_predictions_and_draw_a_map(clone: Path) -> None:
    drawn, as_json = (command for command in commands(SERVICE) if "service predict" in command and "--out" not in command)
    assert "heat-map     map.png: orange" in run(drawn, clone)
    assert (clone / "map.png").exists()
    assert [json.loads(line)["path"] for line in run(as_json, clone).splitlines()] == ["xray.jpeg", "another.jpeg"]


def test_the_graph_and_tritons_client_give_the_same(
    clone: Path, service: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    info = service.get("/model-info").json()
    alone = run_python(SERVICE, "onnxruntime", clone, "model.onnx", info["variants"][info["running"]["variant"]]["file"])
    triton = run_python(SERVICE, "tritonclient", clone, "localhost:8000", service.base_url.netloc.decode())
    triton["client"].close()
    assert "[b'" in capsys.readouterr().out
    for row, name in enumerate(["xray.jpeg", "another.jpeg"]):
        answer = service.post("/predict", content=(clone / name).read_bytes()).json()
        expected = list(answer["probabilities"].values())
        assert np.abs(alone["probabilities"][row] - expected).max() < 1e-6
        assert triton["result"].as_numpy("label")[row] == answer["label"].encode()
        assert triton["result"].as_numpy("probabilities")[row].tolist() == expected


def test_the_commands_of_training_run(clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that train only read the data here: test_pipeline.py trains, and docker/smoke-long.sh does it by compose."""
    monkeypatch.chdir(clone)

    def printed_by(command: str) -> str:
        monkeypatch.setattr(sys, "argv", ["training", *shlex.split(command.partition("-m training ")[2])])
        assert training_main() == 0  # in this process, which has imported torch already
        return capsys.readouterr().out

    afternoon = block(TRAINING, "sh", "models/theirs").splitlines()  # test_pipeline.py walks it
    others = [line for line in commands(TRAINING) if "python -m training " in line and line not in afternoon]
    draw, evaluate, compare, recalibrate, audit, *elsewhere, synthesise = others
    printed_by(f"{draw} --count 60")
    for command in (line for line in MAKE if "make train " in line):
        train = run(command.replace("make", "make --no-print-directory --dry-run", 1), clone).splitlines()[-1]
        assert "nothing was written" in printed_by(f"{train} --dry-run")
    [predict] = (line for line in commands(TRAINING) if "service predict" in line and line not in afternoon)
    images = list(Path("data/phantoms/train/NORMAL").iterdir())
    assert len(run(predict.replace("models/phantom", "models/mine"), clone).splitlines()) == len(images) + 1
    assert "AUROC" in printed_by(evaluate) and Path("answers.csv").exists()
    assert "McNemar's exact p" in printed_by(compare)
    printed_by(recalibrate)
    assert (clone / "models/ours/model.onnx").exists()
    assert "how well a property alone tells the label" in printed_by(audit)
    Path("models/mine/seen.txt").unlink()  # it has seen none of the phantoms
    assert "real NORMAL: nearest of another patient" in printed_by(f"{synthesise} --count 1")
    assert [command.split()[3] for command in elsewhere] == ["evaluate", "card"]  # need a run: see test_pipeline.py


def test_make_knows_its_targets(clone: Path) -> None:
    for command in MAKE:
        run(command.replace("make", "make --no-print-directory --dry-run", 1), clone)


def test_every_command_is_tested_here_or_by_a_smoke_test() -> None:
    smoke = "".join(script.read_text() for script in (ROOT / "docker").glob("smoke*.sh"))
    scripts = {f"docker/{script.name}" for script in (ROOT / "docker").glob("smoke*.sh")}
    assert {command for command in commands() if command.startswith("docker/")} == scripts <= set(read(".ci/run").split())
    for command in commands():
        assert re.match(TESTED, without_variables(command)), command
        assert "docker compose" not in command or without_variables(command) in smoke, f"no smoke test runs «{command}»"
    for path in re.findall(r"-m pytest (\S+)", "\n".join(commands())):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([\w-]+)`", "".join(map(read, DOCUMENTS))):
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target


@pytest.mark.parametrize("name", [*DOCUMENTS, KUBERNETES, "models/default/README.md"])
def test_links_and_named_files_exist(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)|src=\"([^\"]+)\"", read(name)):
        path, _, anchor = "".join(target).partition("#")
        linked = (ROOT / name).parent / path if path else ROOT / name
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target
    for path in re.findall(r"`((?:service|training|docker|tests|models)/[\w./-]*)`", read(README)):
        assert (ROOT / path).exists(), path


def anchors(document: Path) -> list[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_readme_is_short_and_documents_are_narrow() -> None:
    lines = read(README).splitlines()
    assert len(lines) <= 170
    assert max(map(len, lines)) <= 120
    for name in [*DOCUMENTS, KUBERNETES]:
        assert [line for line in prose(name) if len(line) > 120] == [], name


def figures(text: str) -> str:
    """The numbers in a text, in their order, without those inside words such as int8."""
    return " ".join(["", *re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*", text), ""])


@pytest.mark.parametrize(
    ("document", "render", "recorded"),
    [
        (TRAINING, training.table, training.RESULT),
        (SERVICE, archive.table, archive.RESULT),
        (SERVICE, page.words, page.RESULT),
    ],
)
def test_the_figures_are_those_that_a_benchmark_recorded(document: str, render: Any, recorded: Path) -> None:  # Any: by each
    assert figures(render(json.loads(recorded.read_text()))) in figures(read(document))


def test_the_speed_in_the_readme_is_what_the_benchmark_recorded() -> None:
    measured = figures(headlines.headlines(results.newest()))
    names = [next(name for name, peer in model.servers.items() if peer == servers.OURS) for model in results.newest().models]
    ours = [headlines.rate(model, name) for model, name in zip(results.newest().models, names, strict=True)]
    assert f"| MedXfer | {ours[0]:.0f} | {ours[1]:.0f} |" in read(README)
    rows = re.findall(r"^\| compared with .*$", read(README), re.MULTILINE)
    assert rows
    for row in rows:
        assert figures(row) in measured, row


def test_the_pages_of_figures_are_written_from_their_records() -> None:
    assert report.page(results.read_all()) == (results.FOLDER / report.README).read_text(encoding="utf-8")
    found = torture_results.load(torture_results.RESULTS, torture_results.Results)
    soak = torture_results.load(torture_results.SOAK, torture_results.Soak)
    assert found is not None
    assert torture_report.page(found, soak) == torture_report.README.read_text(encoding="utf-8")
    assert figures(torture_report.summary(found)) in figures(read(README))


def test_the_model_is_as_good_as_the_readme_says() -> None:
    found = json.loads((DEFAULT_MODEL / "model.json").read_text())["metrics"]["test"]
    for name in ("AUROC", "accuracy", "sensitivity", "specificity"):
        assert f"| {name} | {found[name.lower()]['value']:.3f} |" in read(README)
    assert f"(ECE) | {found['ece']:.3f} |" in read(README)


def test_every_setting_and_every_variable_of_compose_is_documented() -> None:
    for setting in msgspec.structs.fields(Settings):
        default = f"`{setting.default}`" if setting.default != "" else ""
        assert f"| `{setting.encode_name}` | {default} |" in read(SERVICE)
    variables = re.findall(r"^# (\w+)=", read(".env.example"), flags=re.MULTILINE)
    assert set(re.findall(r"\$\{(\w+)", read("compose.yaml"))) == set(variables)

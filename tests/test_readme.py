"""The README does what it says: its commands run, its settings exist, its answers look like that."""

import contextlib
import json
import os
import re
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
from tests.benchmarks import archive as archive_benchmark
from tests.benchmarks import headlines, report, results
from tests.benchmarks import novelty as novelty_benchmark
from tests.benchmarks import page as page_benchmark
from tests.benchmarks import training as training_benchmark
from tests.conftest import ROOT, dicom_of, free_port, wait_until_ready
from tests.torture import report as torture_report
from tests.torture import results as torture_results
from tests.torture.results import Results, Soak
from training.data import phantoms

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def block(language: str, word: str) -> str:
    """The one in which the word stands."""
    [found] = (each for each in blocks(language) if word in each)
    return found


def without_variables(command: str) -> str:
    return re.sub(r"^(\w+=\S+ )*", "", command)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files, this environment, an X-ray (drawn) to ask about, and two data folders."""
    folder = tmp_path_factory.mktemp("clone")
    tracked = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT).decode().split("\0")
    for name in filter(None, tracked):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    if not (Path(sys.prefix) / "everything").exists():
        pytest.skip("this environment was not made by make, which would change it")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    phantoms.write_data_set(folder / "path/to/chest_xray", 80)
    drawn = sorted((folder / "path/to/chest_xray/train/PNEUMONIA").iterdir())
    shutil.copy(drawn[0], folder / "xray.jpeg")
    shutil.copy(drawn[1], folder / "another.jpeg")
    shutil.copy(drawn[0], folder / "a.jpeg")
    Image.open(drawn[1]).save(folder / "b.png")
    shutil.copytree(folder / "path/to/chest_xray/train", folder / "path/to/labelled")
    shutil.copytree(folder / "path/to/labelled/NORMAL", folder / "path/to/archive/2024")
    (folder / "path/to/archive/2024/radiograph.dcm").write_bytes(dicom_of(np.asarray(Image.open(drawn[0]).convert("L"))))
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(clone: Path, port: int) -> Iterator[Path]:
    """`make serve`, on a port of its own."""
    assert "make serve" in COMMANDS
    with serving("make serve", clone, port):
        yield clone


@contextlib.contextmanager
def serving(command: str, folder: Path, port: int) -> Iterator[str]:
    """The URL of a command that serves until a person interrupts it, and then ends without a traceback."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, "MEDXFER_PORT": str(port)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert "Traceback" not in output


def run(command: str, folder: Path) -> str:
    process = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


CURL = [command for command in COMMANDS if command.startswith("curl ")]


def test_there_are_four_curl_lines() -> None:
    assert len(CURL) == 4


def test_the_curl_lines_print_what_the_readme_shows(served: Path, port: int) -> None:
    form, raw, batch, health = (json.loads(run(line.replace("localhost:8000", f"127.0.0.1:{port}"), served)) for line in CURL)
    shown = json.loads(blocks("json")[0])
    assert list(form) == list(shown)
    assert form["probabilities"] == raw["probabilities"]
    assert "heatmap" in raw
    assert [list(result) for result in batch["results"]] == [["prediction"], ["prediction"]]
    assert health == {"status": "ready"}


def test_the_archive_lines_leave_a_row_for_each_file(clone: Path) -> None:
    files = [path for path in (clone / "path/to/archive").rglob("*") if path.is_file()]
    here, glob, cluster = (command for command in COMMANDS if "service predict" in command)
    assert f"{len(files)} rows, 0 of them refused" in run(here, clone)
    run(glob, clone)
    assert parquet.read_table(clone / "results.parquet")["path"].to_pylist() == ["2024/radiograph.dcm"]
    run(cluster.replace("head:6379", "local"), clone)
    assert (clone / "everything.csv").read_bytes() == (clone / "results.csv").read_bytes()


def test_the_python_lines_give_what_the_service_gives(served: Path, port: int) -> None:
    names: dict[str, Any] = {}  # Any: whatever the README defines
    info = httpx.get(f"http://127.0.0.1:{port}/model-info", trust_env=False).json()
    with contextlib.chdir(served):
        exec(block("python", "onnxruntime").replace("model.onnx", info["variants"][info["running"]["variant"]]["file"]), names)
    for row, name in enumerate(["xray.jpeg", "another.jpeg"]):
        answer = httpx.post(f"http://127.0.0.1:{port}/predict", content=(served / name).read_bytes(), trust_env=False).json()
        assert np.abs(names["probabilities"][row] - list(answer["probabilities"].values())).max() < 1e-6


def test_tritons_client_gets_what_the_service_gives(served: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}  # Any: whatever the README defines
    with contextlib.chdir(served):
        exec(block("python", "tritonclient").replace("localhost:8000", f"127.0.0.1:{port}"), names)
    names["client"].close()
    assert capsys.readouterr().out.startswith("[b'")
    for row, content in enumerate(names["contents"]):
        answer = httpx.post(f"http://127.0.0.1:{port}/predict", content=content, trust_env=False).json()
        assert names["result"].as_numpy("label")[row] == answer["label"].encode()
        assert names["result"].as_numpy("probabilities")[row].tolist() == list(answer["probabilities"].values())


def test_the_training_lines_leave_a_model_that_serves(clone: Path, port: int) -> None:
    _, draw, on_phantoms = next(block for block in blocks("sh") if "phantoms data" in block).splitlines()
    train, serve = next(block for block in blocks("sh") if block.startswith("make train")).splitlines()
    run(draw + " --count 60", clone)
    run(on_phantoms.replace("make", "make --dry-run", 1), clone)  # the same command as the next, but for its folders
    run(train + " CONFIG=phantom", clone)  # the configuration of the README needs a download
    with serving(serve, clone, free_port()) as url:
        assert httpx.get(f"{url}/model-info", trust_env=False).json()["name"] == "phantom"
    predict, compare, recalibrate = next(block for block in blocks("sh") if "training predict" in block).splitlines()
    assert run(predict, clone).splitlines()[1].startswith("b.png")
    assert "McNemar's exact p" in run(compare, clone)
    run(recalibrate, clone)
    assert (clone / "models/ours/model.onnx").exists()


@pytest.mark.parametrize("command", [without_variables(command) for command in COMMANDS if "make " in command])
def test_make_knows_what_it_is_asked_for(clone: Path, command: str) -> None:
    assert command.startswith("make ")
    run(command.replace("make", "make --dry-run", 1), clone)


def test_the_docker_lines_are_those_of_the_smoke_tests() -> None:
    smoke = "".join(script.read_text() for script in (ROOT / "docker").glob("smoke*.sh"))
    for command in (command for command in COMMANDS if "docker compose" in command):
        assert without_variables(command) in smoke, f"no smoke test runs «{command}»"
    assert {f"docker/{script.name}" for script in (ROOT / "docker").glob("smoke*.sh")} <= set(
        (ROOT / ".ci/run").read_text().split()
    )


def test_every_command_is_tested_here() -> None:
    known = (
        "make serve",
        "make test",
        "make benchmark",
        "make torture",
        "make soak",
        "docker compose",
        "docker/smoke.sh",
        "curl ",
        "make train",
        "make .venv/everything",
        ".venv/bin/python -m training ",
        ".venv/bin/python -m service predict ",
    )
    for command in COMMANDS:
        assert without_variables(command).startswith(known), command


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        assert (ROOT / (path or name)).exists(), target
        if anchor:
            assert anchor in anchors(ROOT / (path or name)), target


def test_what_contributing_names_is_there() -> None:
    contributing, makefile = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)`", contributing):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"pytest (\S+)", contributing):
        assert (ROOT / path).exists(), path


def anchors(page: Path) -> list[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_figures_are_those_of_the_benchmarks() -> None:
    result = results.read()
    assert headlines.headlines(result) in README
    assert report.page(result) == (results.FOLDER / report.README).read_text(encoding="utf-8")
    assert training_benchmark.table(json.loads(training_benchmark.RESULT.read_text())) in README
    assert archive_benchmark.table(json.loads(archive_benchmark.RESULT.read_text())) in README
    assert novelty_benchmark.words(json.loads(novelty_benchmark.RESULT.read_text())) in README
    assert page_benchmark.words(json.loads(page_benchmark.RESULT.read_text())) in README


def test_what_it_withstands_is_what_was_measured() -> None:
    found, soak = torture_results.load(torture_results.RESULTS, Results), torture_results.load(torture_results.SOAK, Soak)
    assert found is not None
    assert torture_report.page(found, soak) == torture_report.README.read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default() -> None:
    for setting in msgspec.structs.fields(Settings):
        default = f"`{setting.default}`" if setting.default != "" else ""
        assert f"| `{setting.encode_name}` | {default} |" in README


def test_every_variable_of_compose_is_documented() -> None:
    variables = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert variables == set(re.findall(r"^# (\w+)=", example, flags=re.MULTILINE))

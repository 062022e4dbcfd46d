"""`python -m service predict` without `--out`: what it prints for a person and for a program."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeAlias

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

from service import __main__
from service.model.artefact import read_artefact
from service.model.prediction import DISCLAIMER, Heatmap, Novelty, Prediction
from service.prompt import words
from tests.conftest import DEFAULT_MODEL, ROOT, dicom_of, encode, grey

ONLY_HTTP = {"request_id", "timing_ms", "batch_size"}
IMAGES = {
    "a.jpeg": encode(grey(1300, 1000), "JPEG"),
    "b.dcm": dicom_of(grey(400, 300, 2), PatientAge="050Y", BodyPartExamined="FOOT"),
    "c.png": encode(Image.new("L", (300, 200), 7)),
    "d.png": b"no image",
}
Run: TypeAlias = Callable[..., "CompletedProcess[str]"]
ARTEFACT = read_artefact(DEFAULT_MODEL, "fp32")
PREDICTION = Prediction(
    label="NORMAL",
    confidence=0.97,
    probabilities={"NORMAL": 0.97, "PNEUMONIA": 0.03},
    uncertain=False,
    abstain=False,
    reasons=[],
    novelty=Novelty(value=40.0, level="typical"),
    warnings=[],
    heatmap=Heatmap(grid=(2, 2), scale=4.0, values=[[0.0, 0.0], [0.0, 0.0]]),
)


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """In this process."""

    def run(*arguments: object) -> "CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", ["service", "predict", *map(str, arguments)])
        monkeypatch.setenv("MEDXFER_MODEL", str(DEFAULT_MODEL))
        try:
            code: Any = __main__.main()
        except SystemExit as end:
            code = end.code
        return CompletedProcess(sys.argv, code, *capsys.readouterr())

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with `IMAGES`."""
    monkeypatch.chdir(tmp_path)
    for name, content in IMAGES.items():
        Path(name).write_bytes(content)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_json_has_the_members_and_the_bits_of_an_answer(predict: Run, client: httpx.Client) -> None:
    done = predict(*IMAGES, "--json")
    found, names = [json.loads(line) for line in done.stdout.splitlines()], list(IMAGES)
    assert [document.pop("path") for document in found] == names
    for document, content in zip(found, IMAGES.values(), strict=True):
        answer = client.post("/predict", content=content).json()
        if "type" in answer:
            assert document["problem"].items() <= answer.items()
        else:
            assert document == {name: value for name, value in answer.items() if name not in ONLY_HTTP}
            assert list(document) == [name for name in answer if name not in ONLY_HTTP]
    assert (done.returncode, done.stderr) == (1, "d.png: the content is neither JPEG nor PNG nor DICOM\n")


@pytest.mark.usefixtures("here")
def test_one_image_is_told_as_a_paragraph_with_its_doubts_in_words(predict: Run) -> None:
    answer, done = json.loads(predict("b.dcm", "--json").stdout), predict("b.dcm")
    assert answer["reasons"] == ["foreign", "not-chest"], "both kinds of reasons should be tried"
    name, *facts, disclaimer = done.stdout.splitlines()
    label, other = sorted(answer["probabilities"], key=answer["probabilities"].__getitem__, reverse=True)
    probability, complement = (answer["probabilities"][each] for each in (label, other))
    cutoffs = ARTEFACT.description.novelty
    assert (done.returncode, name, disclaimer) == (0, "b.dcm", DISCLAIMER)
    assert [fact.strip() for fact in facts] == [
        f"label        {label}",
        f"probability  {probability:.4f} ({other} {complement:.4f})",
        "doubt        do not use this answer:",
        "the image is unlike the images that the model learned from",
        "the file says that the image is not of the chest; the model learned from chest X-rays",
        f"novelty      {answer['novelty']['value']:.1f}: foreign "
        f"(unusual from {cutoffs.unusual:.1f}, foreign from {cutoffs.foreign:.1f})",
        "warnings     the model learned from people of 1 to 5 years; this one's age is outside that",
        f"model        {answer['model']['name']}, {answer['model']['variant']}",
    ]


@pytest.mark.usefixtures("here")
def test_several_images_get_a_line_each_and_refused_ones_a_message(predict: Run) -> None:
    done = predict("gone.png", *IMAGES)
    *lines, disclaimer = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["a.jpeg", "b.dcm", "c.png"]
    assert all(re.fullmatch(r"[a-c.djepngcm]+ +(NORMAL|PNEUMONIA) 0\.\d{4}, \w+(; .+)?", line) for line in lines)
    assert "; do not use this answer: foreign, not-chest; " in lines[1]
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["gone.png", "d.png"]
    assert "No such file" in done.stderr
    assert (done.returncode, disclaimer) == (1, DISCLAIMER)


def test_a_folder_and_a_glob_give_a_line_for_each_image_and_say_what_they_pass_over(predict: Run, here: Path) -> None:
    (here / "notes.tif").touch()
    (here / "evil\x1b[2J.png").write_bytes(IMAGES["c.png"])
    done = predict(here, here / "*.jpeg")
    names = [line.split("  ")[0] for line in done.stdout.splitlines()[:-1]]
    assert names == [f"{here}/a.jpeg", f"{here}/b.dcm", f"{here}/c.png", repr(f"{here}/evil\x1b[2J.png"), f"{here}/a.jpeg"]
    assert f"{here}: 1 files were passed over: 1 × .tif" in done.stderr


def test_the_heat_map_is_written_over_the_image_and_replaces_no_file(predict: Run, here: Path) -> None:
    done = predict("a.jpeg", "--heatmap", "map.png")
    with Image.open("map.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (650, 500))
        assert np.abs(np.asarray(picture.convert("L")).astype(int) - grey(1300, 1000)[::2, ::2]).mean() < 30
    positive, scale = ARTEFACT.description.positive, ARTEFACT.description.heatmap.scale
    said = f"heat-map     map.png: orange speaks for {positive}, blue against it; full colour is {scale:.1f} logits"
    assert said in done.stdout
    again = predict("c.png", "--heatmap", "a.png", "--json")
    assert json.loads(again.stdout)["heatmap"]["scale"] == scale
    before = (here / "map.png").read_bytes()
    assert predict("a.jpeg", "--heatmap", "map.png").returncode == 2
    assert (here / "map.png").read_bytes() == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.jpeg", "b.dcm", "--heatmap", "map.png"], "--heatmap map.png: takes one image; 2 were given"),
        (["a.jpeg", "--heatmap", "map.jpg"], "'map.jpg': its name must end with .png"),
        (["a.jpeg", "--heatmap", "no/map.png"], "--heatmap no/map.png: No such file or directory"),
        (["a.jpeg", "--workers", "2"], "--engine and --workers need --out"),
        (["a.jpeg", "--out", "out.csv", "--json"], "--out out.csv: without --json and --heatmap"),
        (["a.jpeg", "b.dcm", "--out", "out.csv"], "--out out.csv: takes one folder, glob or file, 2 were given"),
        (["*.tif"], "'*.tif': no images in there"),
        ([], "required: IMAGES"),
    ],
)
def test_a_wrong_option_ends_the_command_with_code_2_before_it_prints(predict: Run, arguments: list[str], reason: str) -> None:
    before = sorted(Path().iterdir())
    done = predict(*arguments)
    assert (done.returncode, done.stdout, sorted(Path().iterdir())) == (2, "", before)
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_a_prediction_without_doubts_says_so_and_no_score_is_certain() -> None:
    text = words.paragraph("x.png", PREDICTION, ARTEFACT, None)
    assert "doubt        none: no reason to abstain" in text and "warnings     none" in text
    assert words.line("x.png", PREDICTION, 8) == "x.png     NORMAL 0.9700, typical"
    sure = msgspec.structs.replace(PREDICTION, confidence=1.0, probabilities={"NORMAL": 1.0, "PNEUMONIA": 0.0})
    assert ">0.9999 (PNEUMONIA <0.0001)" in words.paragraph("x.png", sure, ARTEFACT, None)


def test_a_reader_that_closes_the_pipe_gets_no_traceback(here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "service", "predict", str(here / "a.jpeg"), str(here / "c.png")]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (2, "")

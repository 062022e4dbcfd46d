import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from service.model.classifier import Outputs
from tests.conftest import DEFAULT_MODEL
from training.data import layouts, phantoms
from training.data.manifest import Record
from training.graph import assembly, holdout, int8_gate, model_folder
from training.graph.model_folder import FP32, INT8


def outputs(positive: list[float], seed: int = 0) -> Outputs:
    rng = np.random.default_rng(seed)
    column = np.array(positive, np.float32)
    maps = rng.normal(0, 1, (len(column), 7, 7)).astype(np.float32)
    return Outputs(np.stack([1 - column, column], 1), maps, rng.normal(50, 5, len(column)).astype(np.float32))


TRUTH = np.array([True, True, True, False, False])
FP32_OUTPUTS = outputs([0.9, 0.8, 0.6, 0.4, 0.1])


def test_identical_answers_pass_with_no_loss() -> None:
    figures = int8_gate.compare(TRUTH, FP32_OUTPUTS, FP32_OUTPUTS, positive=1)
    assert figures == {
        "auroc_loss": 0, "accuracy_loss": 0, "mean_probability_shift": 0, "heatmap_correlation": pytest.approx(1),
        "novelty_rank_correlation": pytest.approx(1),
    }  # fmt: skip
    assert int8_gate.passes(figures)


def test_the_figures_are_right_for_a_case_counted_by_hand() -> None:
    found = outputs([0.9, 0.3, 0.6, 0.4, 0.1], seed=1)  # one positive image below 0.5, and below a negative one
    figures = int8_gate.compare(TRUTH, FP32_OUTPUTS, found, positive=1)
    assert figures["auroc_loss"] == pytest.approx(1 / 6)
    assert figures["accuracy_loss"] == pytest.approx(1 / 5)
    assert figures["mean_probability_shift"] == pytest.approx(0.5 / 5, abs=1e-6)
    assert abs(figures["heatmap_correlation"]) < 0.3
    assert figures["novelty_rank_correlation"] < 0.98


@pytest.mark.parametrize("name", int8_gate.LIMITS)
def test_a_figure_beyond_its_limit_misses_the_gate(name: str) -> None:
    good = int8_gate.compare(TRUTH, FP32_OUTPUTS, FP32_OUTPUTS, positive=1)
    assert int8_gate.passes({**good, name: int8_gate.LIMITS[name]})
    assert not int8_gate.passes({**good, name: int8_gate.LIMITS[name] + (-0.001 if name.endswith("correlation") else 0.001)})


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 24)
    return folder / "train", layouts.scan_labelled(folder / "train")


def with_variant(folder: Path, temperature: float) -> Path:
    """The default model with its own fp32 graph as int8, at `temperature` times its temperature."""
    shutil.copytree(DEFAULT_MODEL, folder)
    description = model_folder.load(folder).artefact.description
    fp32, copy = (onnx.load(folder / "model.onnx") for _ in range(2))
    before, bias = assembly.calibration(copy)
    assembly.set_calibration(copy, before * temperature, bias)
    variant = msgspec.structs.replace(description.variants[FP32], file=model_folder.INT8_FILE)
    variants = {FP32: description.variants[FP32], INT8: variant}
    model_folder.write(folder, {FP32: fp32, INT8: copy}, msgspec.structs.replace(description, variants=variants))
    return folder


def test_a_variant_that_misses_the_gate_is_not_shipped(tmp_path: Path, labelled: tuple[Path, list[Record]]) -> None:
    folder = with_variant(tmp_path / "model", temperature=10)
    int8_gate.check(folder, labelled[0], {"labelled": labelled[1]})
    assert list(model_folder.load(folder).artefact.description.variants) == [FP32]
    assert not (folder / model_folder.INT8_FILE).exists()
    assert "int8" not in (folder / "SHA256SUMS").read_text()


def test_the_test_fold_confirms_the_same_bits_once(tmp_path: Path, labelled: tuple[Path, list[Record]]) -> None:
    folder = with_variant(tmp_path / "model", temperature=1)
    gates = []
    for _ in range(2):
        int8_gate.confirm(tmp_path, labelled[0], labelled[1])
        description = model_folder.load(folder).artefact.description
        gates.append(description.variants[INT8].gate)
        forgotten = msgspec.structs.replace(description.variants[INT8], gate={})  # as calibrating again does
        variants = {**description.variants, INT8: forgotten}
        model_folder.rewrite_description(folder, msgspec.structs.replace(description, variants=variants))
    assert gates[0] == gates[1]
    assert gates[0]["test"]["mean_probability_shift"] == 0
    assert len(msgspec.json.decode((tmp_path / holdout.READINGS).read_bytes())) == 1


def test_a_variant_that_passes_keeps_its_figures(tmp_path: Path, labelled: tuple[Path, list[Record]]) -> None:
    folder = with_variant(tmp_path / "model", temperature=1)
    int8_gate.check(folder, labelled[0], {"labelled": labelled[1]})
    variant = model_folder.load(folder, INT8).artefact.description.variants[INT8]
    assert variant.gate["labelled"]["mean_probability_shift"] == 0

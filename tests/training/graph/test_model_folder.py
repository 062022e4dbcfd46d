"""The model folder, the gate of its int8 variant, and the test fold, which is read once for each locked model."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import json
from msgspec.structs import replace
from scipy.special import logit as logit_of

from service.errors import ArtefactError
from service.model.artefact import Thresholds, read_artefact
from service.model.classifier import Outputs
from tests.conftest import DEFAULT_MODEL
from training import pipeline
from training.config import Config
from training.data import manifest
from training.data.manifest import DataError, Record
from training.graph import assembly, holdout, inference, model_folder
from training.graph.model_folder import FP32, INT8
from training.report import int8_gate
from training.stages import calibrate, card, evaluate

ARTEFACTS = {variant: read_artefact(DEFAULT_MODEL, variant) for variant in (FP32, INT8)}
DESCRIPTION = ARTEFACTS[FP32].description
TRUTH, PATIENTS = np.array([True, True, True, False, False]), list("abcde")
EXACT = {
    "auroc_loss": 0,
    "accuracy_loss": 0,
    "mean_probability_shift": 0,
    "auroc_loss_at_least": 0,
    "accuracy_loss_at_least": 0,
}


def test_a_folder_is_put_in_place_of_another_whole(tmp_path: Path) -> None:
    for name in ("model", ".model.old", ".model.new"):  # the second as a kill leaves it
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    model_folder.put_in_place(tmp_path / ".model.new", tmp_path / "model")
    assert {path.name: (path / "file").read_text() for path in tmp_path.iterdir()} == {"model": ".model.new"}


def test_what_a_kill_left_between_two_renames_is_put_back_and_what_the_service_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="SHA256SUMS"):
        model_folder.load(tmp_path)
    shutil.copytree(DEFAULT_MODEL, tmp_path / ".model.old")
    assert model_folder.load(tmp_path / "model").artefact.description.labels == ["NORMAL", "PNEUMONIA"]
    assert not (tmp_path / ".model.old").exists()


def test_a_stage_says_which_one_comes_before_it(tmp_path: Path, records: list[Record]) -> None:
    shutil.copytree(DEFAULT_MODEL, tmp_path / "model")
    model_folder.rewrite_description(tmp_path / "model", replace(DESCRIPTION, metrics={}))
    manifest.write_table(records, tmp_path / manifest.MANIFEST)
    for stage, before in ((evaluate, "calibrate"), (card, "evaluate")):
        with pytest.raises(DataError, match=f"run the stage «{before}» first"):
            stage.run(Config(), tmp_path)


def outputs(positive: list[float], seed: int = 0) -> Outputs:
    rng, column = np.random.default_rng(seed), np.array(positive, np.float32)
    maps = rng.normal(0, 1, (len(column), 7, 7)).astype(np.float32)
    return Outputs(np.stack([1 - column, column], 1), maps, rng.normal(50, 5, len(column)).astype(np.float32))


def test_the_figures_are_right_for_a_case_counted_by_hand() -> None:
    fp32, int8 = outputs([0.9, 0.8, 0.6, 0.4, 0.1]), outputs([0.9, 0.3, 0.6, 0.4, 0.1], seed=1)  # 0.3 is wrong
    alike = int8_gate.compare(TRUTH, fp32, fp32, 1, PATIENTS)
    assert alike == {**EXACT, "heatmap_correlation": pytest.approx(1), "novelty_rank_correlation": pytest.approx(1)}
    figures = int8_gate.compare(TRUTH, fp32, int8, 1, PATIENTS)
    losses = {"auroc_loss": 1 / 6, "accuracy_loss": 1 / 5, "mean_probability_shift": 0.5 / 5}
    assert {name: figures[name] for name in losses} == pytest.approx(losses, abs=1e-6)
    assert abs(figures["heatmap_correlation"]) < 0.3 and figures["novelty_rank_correlation"] < 0.98
    assert figures["auroc_loss_at_least"] <= 0 and figures["accuracy_loss_at_least"] <= 0, "five images are too few to tell"


@pytest.mark.parametrize("name", int8_gate.LIMITS)
def test_a_figure_beyond_its_limit_misses_the_gate(name: str) -> None:
    good = {**EXACT, "heatmap_correlation": 1, "novelty_rank_correlation": 1, name: int8_gate.LIMITS[name]}
    assert int8_gate.missed(good) == []
    beyond = good[name] + (-0.001 if name.endswith("correlation") else 0.001)
    assert int8_gate.missed({**good, name: beyond, f"{name}_at_least": beyond}) == [name]


def test_one_swapped_pair_of_few_images_is_not_a_loss_but_the_same_share_of_many_is() -> None:
    probability = np.linspace(0.05, 0.95, 20)
    for copies, kept in ((1, True), (50, False)):
        truth = np.tile(probability > 0.5, copies)
        fp32, int8 = outputs(np.tile(probability, copies).tolist()), outputs(np.tile(probability, copies).tolist())
        for start in range(0, len(truth), 20):  # the two images in the middle change places
            int8.probabilities[[start + 9, start + 10]] = int8.probabilities[[start + 10, start + 9]]
        figures = int8_gate.compare(truth, fp32, int8, 1, [str(number) for number in range(len(truth))])
        assert figures["auroc_loss"] > int8_gate.LIMITS["auroc_loss"]
        assert ("auroc_loss" in int8_gate.missed(figures)) is not kept


def with_variant(folder: Path, temperature: float) -> Path:
    """The default model with its own fp32 graph as int8, at `temperature` times its temperature."""
    fp32, copy = (onnx.load(DEFAULT_MODEL / "model.onnx") for _ in range(2))
    before, bias = assembly.calibration(copy)
    assembly.set_calibration(copy, before * temperature, bias)
    variants = {FP32: DESCRIPTION.variants[FP32], INT8: replace(DESCRIPTION.variants[FP32], file=model_folder.INT8_FILE)}
    model_folder.write(folder, {FP32: fp32, INT8: copy}, replace(DESCRIPTION, variants=variants))
    return folder


def test_a_variant_that_misses_the_gate_is_not_shipped(
    tmp_path: Path, folder: Path, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    model = with_variant(tmp_path / "model", temperature=10)
    int8_gate.check(model, folder, {"some": records[::8]})
    assert list(model_folder.description_of(model).variants) == [FP32]
    assert "int8 is too far from fp32 (mean probability shift on some) and is removed" in capsys.readouterr().out
    assert {path.name for path in model.iterdir()} == {"model.onnx", "model.json", "SHA256SUMS"}
    assert "int8" not in (model / "SHA256SUMS").read_text()


def test_a_finished_model_that_is_never_sure_is_announced_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(DEFAULT_MODEL, tmp_path / "model")
    pipeline.announce(model)
    assert capsys.readouterr().out == f"{model}: the model folder, ready to be served\n"
    never_sure = Thresholds(screening=0, balanced=0.5, rule_in=1)
    model_folder.rewrite_description(model, replace(DESCRIPTION, thresholds=never_sure))
    pipeline.announce(model)
    assert "so it calls all of them uncertain" in capsys.readouterr().out


def test_changed_images_are_calibrated_on_beside_those_as_they_are(folder: Path, records: list[Record]) -> None:
    some, found = records[::3], []
    for changes in ([], [np.asarray], [lambda image: 255 - image]):
        _, description = calibrate.calibrate(DEFAULT_MODEL, folder, some, 0.9, changes)
        variant = description.variants[FP32]
        found.append((variant.temperature, variant.bias, description.metrics["calibration"]["images"]))
    alone, twice, inverted = found
    assert twice[:2] == pytest.approx(alone[:2], rel=0.25)  # Platt's softened targets know how many images there are
    assert inverted[:2] != pytest.approx(twice[:2], rel=0.05)  # inverted X-rays mislead the network
    assert alone[2] == twice[2] == inverted[2] == len(some)


def test_a_calibration_on_few_images_makes_every_answer_uncertain_and_says_so(folder: Path, records: list[Record]) -> None:
    few = [record for label in ("NORMAL", "PNEUMONIA") for record in [r for r in records if r.label == label][:12]]
    _, description = calibrate.calibrate(DEFAULT_MODEL, folder, few, 0.97)
    assert description.thresholds == Thresholds(screening=0, balanced=0.5, rule_in=1)
    calibration = description.metrics["calibration"]
    warned = [warning.split(" are ")[0] for warning in calibration["warnings"]]
    assert warned == ["12 images of PNEUMONIA", "12 images of NORMAL"]
    assert calibration["choice"]["taken"] and calibration["after"]["ece"] <= calibration["before"]["ece"]


def test_a_calibration_that_makes_its_own_ece_worse_is_not_taken(folder: Path, records: list[Record]) -> None:
    found = inference.predict(model_folder.load(DEFAULT_MODEL), folder, records)
    order = np.argsort(found.probability)
    lowest, highest = ([i for i in order if found.truth[i] == label] for label in (False, True))
    chosen = [*lowest[:12], *highest[-12:]]  # separable, so that a steep curve is right about each, and Platt's is softer
    logit, variant = logit_of(found.probability[chosen]), DESCRIPTION.variants[FP32]
    steep, middle = 100, (logit[11] + logit[12]) / 2
    earlier = {"temperature": variant.temperature / steep, "bias": steep * (variant.bias - float(middle))}
    few = [records[i] for i in chosen]
    models, description = calibrate.calibrate(DEFAULT_MODEL, folder, few, 0.97, uncalibrated=earlier)
    calibration = description.metrics["calibration"]
    assert calibration["choice"]["before"] < 0.01 < calibration["choice"]["after"] and not calibration["choice"]["taken"]
    assert calibration["before"] == calibration["after"]
    assert "It was not taken: temperature and bias stay as they were." in calibration["warnings"][-1]
    for name, model in models.items():
        kept = description.variants[name].temperature, description.variants[name].bias
        assert assembly.calibration(model) == kept == pytest.approx((earlier["temperature"], earlier["bias"]), rel=1e-6)


def test_a_variant_that_passes_is_confirmed_once_on_the_test_fold(tmp_path: Path, folder: Path, records: list[Record]) -> None:
    model = with_variant(tmp_path / "model", temperature=1)
    int8_gate.check(model, folder, {"some": records[::8]})
    gates = []
    for _ in range(2):
        int8_gate.confirm(tmp_path, folder, records[::8])
        variants = model_folder.description_of(model).variants
        gates.append(variants[INT8].gate)
        forgotten = {**variants, INT8: replace(variants[INT8], gate={})}  # as calibrating again does
        model_folder.rewrite_description(model, replace(model_folder.description_of(model), variants=forgotten))
    assert gates[0]["some"]["mean_probability_shift"] == gates[0]["test"]["mean_probability_shift"] == 0
    assert gates[1] == {"test": gates[0]["test"]}
    assert len(json.decode((tmp_path / holdout.READINGS).read_bytes())) == 1


def test_another_threshold_locks_another_model_but_other_figures_do_not() -> None:
    moved = replace(DESCRIPTION, thresholds=Thresholds(screening=0.1, balanced=0.5, rule_in=0.9))
    descriptions = (DESCRIPTION, replace(DESCRIPTION, metrics={"val": {}}), moved)
    first, measured, other = (holdout.lock(replace(ARTEFACTS[FP32], description=each)) for each in descriptions)
    assert first == measured != other


def test_a_result_stands_and_a_reading_keeps_its_number_when_others_follow(tmp_path: Path) -> None:
    count = itertools.count(1)
    found = [holdout.read_once(tmp_path, ARTEFACTS[name], 10, count.__next__, int) for name in (FP32, INT8, FP32)]
    assert found == [1, 2, 1]
    assert [holdout.number_of(tmp_path, artefact) for artefact in ARTEFACTS.values()] == [1, 2]


def test_a_reading_that_fails_is_logged_and_may_be_repeated_and_a_damaged_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / holdout.READINGS
    with pytest.raises(ZeroDivisionError):
        holdout.read_once(tmp_path, ARTEFACTS[FP32], 10, lambda: 1 // 0, int)
    assert holdout.read_once(tmp_path, ARTEFACTS[FP32], 10, lambda: 1, int) == 1
    assert [reading["result"] for reading in json.decode(log.read_bytes())] == [None, 1]
    log.write_bytes(log.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"test\.json is damaged"):
        holdout.number_of(tmp_path, ARTEFACTS[FP32])

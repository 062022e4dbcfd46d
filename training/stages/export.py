"""Stage 3: exports the best network as one ONNX graph in a model folder, not yet calibrated."""

import datetime
import platform
from pathlib import Path
from typing import Any

import msgspec
import onnx
import onnxruntime
import torch

from service.model import artefact
from service.model.artefact import Description, HeatmapFormat, NoveltyCutoffs, SelfTest, Thresholds, Variant
from service.model.classifier import SELF_TEST_FORMULA
from training.config import Config
from training.data import manifest, splits
from training.data.batches import Targets
from training.graph import assembly, inference, model_folder
from training.graph.model_folder import FP32
from training.network import backbone, history, weight_changes
from training.network.backbone import Network
from training.vision import torchvision


def run(config: Config, run_dir: Path) -> None:
    """Writes `model/`. Raises ConfigError if `fit` has not finished in this run folder."""
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    kinds = Targets(records)
    network = backbone.load(config.backbone, run_dir / backbone.BEST)
    model = build_graph(network, config, kinds)
    features = inference.novelty_features(model, Path(config.data.folder), manifest.of_split(records, splits.TRAIN))
    assembly.set_novelty(model, assembly.whiten(features, network.head.in_features))
    before = backbone.load(config.backbone, run_dir / backbone.HEAD)
    temperature, bias = assembly.calibration(model)
    metrics = {
        "fit": summarise_fit(config, run_dir),
        "anatomy": weight_changes.compare(before, network),
        "uncalibrated": {"temperature": temperature, "bias": bias},
    }
    description = msgspec.structs.replace(describe(config, run_dir, kinds, model), metrics=metrics)
    model_folder.write(run_dir / "model", {FP32: model}, description)
    print(f"{run_dir / 'model'}: {model.ByteSize() / 1e6:.1f} MB, opset {assembly.OPSET}, not yet calibrated")


def summarise_fit(config: Config, run_dir: Path) -> dict[str, Any]:
    """The history of each seed, the epoch that was kept of each, the best seed, and the network that is exported."""
    histories = [history.read(history.folder(run_dir, seed)) for seed in range(config.fit.seeds)]
    kept, networks = [history.best(rows).epoch for rows in histories], history.read_networks(run_dir)
    return {"epochs": config.fit.epochs, "histories": histories, "kept": kept, "kept_seed": networks.seed, "networks": networks}


def build_graph(network: Network, config: Config, kinds: Targets) -> onnx.ModelProto:
    """The served graph of `network`, at temperature 1 and without novelty."""
    size, positive = config.backbone.image_size, kinds.positive
    weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    weight, bias = (values[positive] - values[1 - positive] for values in (weight, bias))
    exported = assembly.export_network(network, size)
    return assembly.assemble(exported, size, weight, float(bias), kinds.labels, kinds.labels[positive])


def describe(config: Config, run_dir: Path, kinds: Targets, model: onnx.ModelProto) -> Description:
    """The description before calibration: every image counts as foreign and no answer as uncertain."""
    temperature, bias = assembly.calibration(model)
    places = config.backbone.image_size // 32  # every backbone halves the image five times; see `backbone.check_usable`
    return Description(
        schema_version=artefact.SCHEMA_VERSION,
        name=config.name,
        labels=kinds.labels,
        positive=kinds.labels[kinds.positive],
        prior=0.5,
        thresholds=Thresholds(screening=0.5, balanced=0.5, rule_in=0.5),
        novelty=NoveltyCutoffs(unusual=0, foreign=0),
        heatmap=HeatmapFormat(grid=(places, places), scale=1),
        variants={FP32: Variant(file=model_folder.GRAPH_FILE, bytes=model.ByteSize(), temperature=temperature, bias=bias)},
        self_test=SelfTest(height=128, width=160, formula=SELF_TEST_FORMULA, probability={}, tolerance={}),
        backbone=config.backbone.name,
        weights=backbone.name_weights(config.backbone.weights),
        image_size=config.backbone.image_size,
        created=datetime.date.today().isoformat(),
        ages=config.data.ages,
        data={
            "source": config.data.source,
            "limits": config.data.limits,
            **msgspec.json.decode((run_dir / manifest.AUDIT).read_bytes()),
        },
        versions={
            "python": platform.python_version(),
            **{module.__name__: str(module.__version__) for module in (torch, torchvision, onnx, onnxruntime)},
        },
    )

"""Stage 3: the best network as one ONNX graph in a model folder, not yet calibrated.

python -m training export --run runs/1
"""

import datetime
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file

from service import artefact
from service.artefact import Description, Heatmap, NoveltyCutoffs, SelfTest, Thresholds, Variant
from service.classifier import SELF_TEST_FORMULA
from training import backbone, batches, data, graph, model_folder
from training.backbone import Network
from training.config import Config, ConfigError
from training.data import Record
from training.graph import Whitening
from training.vision import torchvision


def run(config: Config, run_dir: Path) -> None:
    """Writes `model/`. Raises ConfigError: `fit` has not finished an epoch in this run folder."""
    records = data.read_manifest(run_dir / "manifest.csv")
    labels = data.label_names(records, config.data.positive)
    network = load_best(config, run_dir)
    train = data.of_split(records, "train")
    images = batches.loader(config, train, labels, batches.plain(config.backbone.image_size))
    network = backbone.place(network)
    features, _ = batches.outputs(network, network.pooled, images, "features")
    model = build_graph(network, config, graph.whitening(features), labels)
    model_folder.write(run_dir / "model", model, describe(config, records, labels, model))
    print(f"{run_dir / 'model'}: {model.ByteSize() / 1e6:.1f} MB, opset {graph.OPSET}, not yet calibrated")


def load_best(config: Config, run_dir: Path) -> Network:
    network = backbone.build(msgspec.structs.replace(config.backbone, weights="none"))
    try:
        network.load_state_dict(load_file(run_dir / backbone.BEST))
    except OSError as error:
        raise ConfigError(f"{run_dir / backbone.BEST}: {error}; run the stage «fit» first") from error
    return network


def build_graph(network: Network, config: Config, novelty: Whitening, labels: list[str]) -> onnx.ModelProto:
    """The served graph of `network`, at temperature 1."""
    network.cpu().eval()
    positive = labels.index(config.data.positive)
    weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    size = config.backbone.image_size
    return graph.assemble(
        graph.export_network(network.features, size),
        size,
        weight[positive] - weight[1 - positive],
        float(bias[positive] - bias[1 - positive]),
        novelty,
        labels,
        config.data.positive,
    )


def describe(config: Config, records: Sequence[Record], labels: list[str], model: onnx.ModelProto) -> Description:
    """What is known before calibration: until then every image counts as foreign and no answer as uncertain."""
    temperature, bias = graph.calibration(model)
    places = config.backbone.image_size // 32  # all four backbones halve the image five times
    return Description(
        schema_version=artefact.SCHEMA_VERSION,
        name=config.name,
        labels=labels,
        positive=config.data.positive,
        prior=0.5,
        thresholds=Thresholds(screening=0.5, balanced=0.5, rule_in=0.5),
        novelty=NoveltyCutoffs(unusual=0, foreign=0),
        heatmap=Heatmap(grid=(places, places), scale=1),
        variants={
            model_folder.FP32: Variant(file=model_folder.GRAPH_FILE, bytes=model.ByteSize(), temperature=temperature, bias=bias)
        },
        self_test=SelfTest(height=128, width=160, formula=SELF_TEST_FORMULA, probability={}, tolerance=0.001),
        backbone=config.backbone.name,
        weights=backbone.name_weights(config.backbone.weights),
        image_size=config.backbone.image_size,
        created=datetime.date.today().isoformat(),
        data={
            "source": config.data.source,
            "images": split_table(records),
            "without_patient": data.anonymous(records),
        },
        versions={
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "torchvision": torchvision.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )


def split_table(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Images by split and label."""
    table: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(Counter((record.split, record.label) for record in records).items()):
        table.setdefault(split, {})[label] = count
    return table

"""Phantoms and exported backbones, made once for all tests because they take seconds."""

import functools
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from training.config import Backbone, Data
from training.data import phantoms, scan
from training.data.manifest import Record
from training.graph import assembly
from training.network import backbone
from training.network.backbone import Network

SIZE = 96


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 80)
    return folder


@pytest.fixture(scope="session")
def records(folder: Path) -> list[Record]:
    return scan.scan(Data(folder=str(folder))).records


@functools.cache
def export(name: str) -> tuple[Network, onnx.ModelProto]:
    torch.manual_seed(0)
    network = backbone.build(Backbone(name=name, weights="none", image_size=SIZE)).eval()
    for module in network.modules():  # as after training: an untrained norm would hide a wrong fold
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_(0, 0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    return network, assembly.export_network(network, SIZE)


def small_network(name: str = "tf_efficientnet_lite0") -> Network:
    """An untrained one for images of 32 × 32 pixels; always the same."""
    torch.manual_seed(0)
    return backbone.build(Backbone(name=name, weights="none", image_size=32)).eval()

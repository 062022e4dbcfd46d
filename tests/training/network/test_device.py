"""Which device trains. torch is told that it has a GPU or none, since the tests run on machines of both kinds."""

from pathlib import Path

import pytest
import torch

from tests.training.conftest import small_network
from training.config import ConfigError, Device
from training.network import backbone, device


@pytest.mark.parametrize(
    ("has_gpu", "wanted", "chosen", "told"),
    [
        (True, "auto", "cuda", "device: NVIDIA H100"),
        (True, "cuda", "cuda", "device: NVIDIA H100"),
        (True, "cpu", "cpu", "device: CPU, 3 threads"),
        (False, "auto", "cpu", "device: CPU, 3 threads"),
        (False, "cpu", "cpu", "device: CPU, 3 threads"),
    ],
)
def test_a_gpu_is_used_where_there_is_one_unless_the_cpu_is_wanted(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, wanted: Device, chosen: str, told: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert device.choose(wanted).type == chosen
    assert device.describe(wanted).splitlines()[0] == told


def test_a_gpu_that_is_wanted_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"fit\.device = «cuda»: torch .* finds no GPU here"):
        device.choose("cuda")


def test_a_driver_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is an NVIDIA driver here, but torch" in device.describe("auto")
    assert "driver" not in device.describe("cpu")


def test_a_network_moves_to_the_device_that_is_wanted() -> None:
    assert backbone.move_to_device(small_network(), "cpu").head.weight.device.type == "cpu"

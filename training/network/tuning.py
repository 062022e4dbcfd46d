"""Fine-tuning of the whole network: lower rates for lower layers, warm-up, cosine decay, and an average of the weights."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import files
from training.config import Config, ConfigError, with_paths
from training.data import batches
from training.data.batches import Loader, read_batches
from training.network import backbone
from training.network.backbone import Network
from training.network.history import Row

# The value of `share_outside` that costs nothing, since lungs reach beyond the middle. Without it, a weight of 0.5 moved all
# evidence but half a per cent to the middle within two epochs: the network then carries it there from anywhere.
ALLOWED_OUTSIDE = 0.35


class FineTuning:
    """All that changes from step to step: network, auxiliary head, weight average, optimiser, schedule."""

    def __init__(self, network: Network, config: Config, steps_per_epoch: int, label_of_class: torch.Tensor) -> None:
        """`label_of_class` as in `batches.Targets`. The auxiliary head tells all classes, and is dropped afterwards."""
        choices = config.fit
        device = network.head.weight.device
        self.config = config
        self.network = network
        self.label_of_class = label_of_class.to(device)
        backbone.freeze(network, choices.frozen_stages)
        self.class_head = nn.Linear(network.head.in_features, len(label_of_class)).to(device)
        groups = backbone.parameter_groups(network, choices.learning_rate, choices.lowest_layer_rate)
        groups.append({"params": list(self.class_head.parameters()), "lr": choices.learning_rate})
        self.optimizer = AdamW(groups, weight_decay=choices.weight_decay)
        steps = choices.epochs * steps_per_epoch
        warmup = max(1, round(steps * choices.warmup_fraction))
        rise = LinearLR(self.optimizer, 0.01, total_iters=warmup)
        fall = CosineAnnealingLR(self.optimizer, max(1, steps - warmup))
        self.schedule = SequentialLR(self.optimizer, [rise, fall], milestones=[warmup])
        self.average = AveragedModel(network, multi_avg_fn=self.update_average, use_buffers=True)

    def update_average(self, average: Any, current: Any, steps: torch.Tensor | int) -> None:  # Any: sequences of tensors
        """Moves the average towards the current weights, faster in the first steps: a constant decay would keep the head of the
        frozen network for hundreds of steps."""
        decay = min(self.config.fit.ema_decay, float((1 + steps) / (10 + steps)))
        get_ema_multi_avg_fn(decay)(average, current, steps)

    def run_epoch(self, images: Loader, what: str) -> tuple[Network, float]:
        """Returns the averaged network and the mean loss. Raises ConfigError if the loss is not finite."""
        losses = []
        self.network.train()
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d) and (self.config.fit.frozen_norm or not module.weight.requires_grad):
                module.eval()
        for batch, target in read_batches(images, what):
            batch = batches.swap_surroundings(self.network.to_device(batch), self.config.augment.surroundings)
            loss = self.loss(batch, target.to(self.network.head.weight.device))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                rate = self.config.fit.learning_rate
                raise ConfigError(f"the loss is {losses[-1]}: reduce fit.learning_rate, which is {rate:g}")
        return self.average.module, float(np.mean(losses))  # type: ignore[return-value]  # a copy of `network`, typed as any Module

    def loss(self, batch: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the labels, plus `fit.causes` times that of the classes, plus `fit.outside` times the mean
        share of the evidence that lies too far outside. `target` [N]: numbers of classes."""
        with backbone.autocast(batch.device):
            maps = self.network.maps(batch)
            pooled = maps.mean((2, 3))
            logits, classes = self.network.head(pooled), self.class_head(pooled)
        label_loss = nn.functional.cross_entropy(logits.float(), self.label_of_class[target])
        class_loss = nn.functional.cross_entropy(classes.float(), target)
        outside = share_outside(self.network.evidence(maps.float())).sub(ALLOWED_OUTSIDE).clamp_min(0).mean()
        return label_loss + self.config.fit.causes * class_loss + self.config.fit.outside * outside

    def save(self, rows: list[Row], path: Path) -> None:
        """Writes all that the next epoch depends on."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        with files.atomic_write(path) as temporary:
            torch.save({"config": self._identity(), "rows": msgspec.to_builtins(rows), **states}, temporary)

    def restore(self, path: Path) -> list[Row]:
        """Reads what `save` wrote, if anything; returns the rows of the finished epochs. Raises ConfigError if the file is
        damaged, or was saved under another configuration."""
        if not path.exists():
            return []
        try:
            state = torch.load(path, map_location=self.network.head.weight.device, weights_only=True)
            if state["config"] != self._identity():
                raise ConfigError(f"{path} was saved under another configuration; start a new run")
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except (OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
            raise ConfigError(f"{path} is damaged; without it this seed begins anew ({type(error).__name__})") from error
        return msgspec.convert(state["rows"], list[Row])

    def _parts(self) -> dict[str, Any]:  # Any: torch has no common type for objects with a state
        names = ("network", "class_head", "average", "optimizer", "schedule")
        return {name: getattr(self, name) for name in names}

    def _identity(self) -> bytes:
        """The configuration without the paths of this machine, and without what comes after the fit."""
        choices = msgspec.structs.replace(self.config.fit, ignore=())
        fitted = msgspec.structs.replace(self.config, fit=choices)
        return msgspec.json.encode(with_paths(fitted, folder=Path(), weights="", elsewhere={}))


def share_outside(evidence: torch.Tensor) -> torch.Tensor:
    """[N]: of each map [N, h, w], the share of |evidence| on the outermost ring, and half the share between it and the middle
    half of each side. 0.65 if the evidence is even on 7 × 7 places. To lower it is to be right for the right reasons (Ross et
    al. 2017, arXiv 1703.03717), as far as a place of the map stands for that place of the image."""
    height, width = evidence.shape[1:]
    places = torch.ones(height, width, device=evidence.device)
    places[1:-1, 1:-1] = 0.5
    places[round(height / 4) : round(height * 3 / 4), round(width / 4) : round(width * 3 / 4)] = 0
    return (evidence.abs() * places).sum((1, 2)) / evidence.abs().sum((1, 2)).clamp_min(1e-6)

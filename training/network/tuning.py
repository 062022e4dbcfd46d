"""Fine-tuning: the whole network, lower layers slower, with warm-up, cosine decay and an average of the weights."""

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
from training.data.batches import Loader, each
from training.network import backbone
from training.network.backbone import Network
from training.network.history import Row


class FineTuning:
    """What changes from step to step: network, weight average, optimiser, schedule."""

    def __init__(self, network: Network, config: Config, steps_per_epoch: int, labels_of: torch.Tensor) -> None:
        """`labels_of` float32 [kinds, 2]: 1 where the kind has the label. The loader's second tensors are kinds."""
        choices = config.fit
        self.config = config
        self.network = network
        self.labels_of = labels_of.to(network.head.weight.device)
        kinds = len(labels_of)
        self.kinds_head = nn.Linear(network.head.in_features, kinds).to(network.head.weight.device)
        groups = backbone.rate_groups(network, choices.learning_rate, choices.lowest_layer_rate)
        groups.append({"params": list(self.kinds_head.parameters()), "lr": choices.learning_rate})
        self.optimizer = AdamW(groups, weight_decay=choices.weight_decay)
        steps = choices.epochs * steps_per_epoch
        warmup = max(1, round(steps * choices.warmup_fraction))
        self.schedule = SequentialLR(
            self.optimizer,
            [LinearLR(self.optimizer, 0.01, total_iters=warmup), CosineAnnealingLR(self.optimizer, max(1, steps - warmup))],
            milestones=[warmup],
        )
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(choices.ema_decay), use_buffers=True)

    def run_epoch(self, images: Loader, what: str) -> tuple[Network, float]:
        """The averaged network, and the mean loss. Raises ConfigError: fitting diverged."""
        losses = []
        self.network.train()
        for batch, kind in each(images, what):
            loss = self.loss(self.network.take(batch), kind.to(self.network.head.weight.device))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise ConfigError(
                    f"the loss became {losses[-1]}: try a smaller fit.learning_rate = {self.config.fit.learning_rate:g}"
                )
        return self.average.module, float(np.mean(losses))  # type: ignore[return-value]  # a copy of `network`, typed as any Module

    def loss(self, batch: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the labels, and of the kinds [N]."""
        with backbone.autocast(batch.device):
            pooled = self.network.pooled(batch)
            logits, kinds = self.network.head(pooled), self.kinds_head(pooled)
        of_labels = nn.functional.cross_entropy(logits.float(), self.labels_of[kind])
        return of_labels + self.config.fit.causes * nn.functional.cross_entropy(kinds.float(), kind)

    def save(self, rows: list[Row], path: Path) -> None:
        """All that the next epoch depends on."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        with files.whole(path) as aside:
            torch.save({"config": self._identity(), "rows": [msgspec.structs.asdict(row) for row in rows], **parts}, aside)

    def restore(self, path: Path) -> list[Row]:
        """The rows of the epochs that are done; none if nothing was saved.

        Raises ConfigError: it was saved under another configuration.
        """
        if not path.exists():
            return []
        try:
            state = torch.load(path, map_location=self.network.head.weight.device, weights_only=True)
        except (OSError, RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
            raise ConfigError(f"{path} is damaged; without it this seed begins anew ({type(error).__name__})") from error
        if state["config"] != self._identity():
            raise ConfigError(f"{path} was saved under another configuration; start a new run")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        return msgspec.convert(state["rows"], list[Row])

    def _parts(self) -> dict[str, Any]:  # Any: torch has no common type of what has a state
        parts = {"network": self.network, "average": self.average, "optimizer": self.optimizer, "schedule": self.schedule}
        return {**parts, "kinds_head": self.kinds_head}

    def _identity(self) -> bytes:
        return msgspec.json.encode(with_paths(self.config, folder=Path(), weights=""))

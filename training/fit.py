"""Stage 2: the head on frozen features, then the whole network, lower layers slower; keeps the best epoch.

    python -m training fit --run runs/1

The head comes first so that a random one does not distort the features (Kumar et al. 2022, arXiv 2202.10054).
"""

import csv
import os
import time
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import backbone, batches, data
from training.backbone import Network
from training.batches import Loader
from training.config import Config, ConfigError, with_paths
from training.progress import track

RESUME = "resume.pt"

Row: TypeAlias = dict[str, float]  # of the history: what is known of an epoch; epoch 0 is the head alone


def run(config: Config, run_dir: Path) -> None:
    """Writes after each epoch `history.csv`, `resume.pt` and, when it is better, `best.safetensors`. Goes on from
    `resume.pt` if it is there, and then ends with the same weights as if it had never been stopped (on a CPU)."""
    records = data.read_manifest(run_dir / "manifest.csv")
    labels = data.label_names(records, config.data.positive)
    positive = labels.index(config.data.positive)
    size = config.backbone.image_size
    train = data.of_split(records, "train")
    plain = batches.plain(size)
    validation = {name: batches.loader(config, data.of_split(records, name), labels, plain) for name in ("val", "shifted")}
    crops = batches.loader(config, train, labels, batches.augmented(size, config.augment), batches.balanced_sampler(train))

    torch.manual_seed(config.seed)
    network = backbone.place(backbone.build(config.backbone))
    tuning = FineTuning(network, config, len(crops))
    rows = tuning.restore(run_dir / RESUME)
    print(f"going on after epoch {len(rows) - 1} of {config.fit.epochs}" if rows else "epoch 0 is the head alone")
    print("epoch  seconds    loss  │  AUROC  specificity  sensitivity  │  the same on the shifted validation")
    for epoch in range(len(rows), config.fit.epochs + 1):
        torch.manual_seed(_epoch_seed(config.seed, epoch))  # whatever was drawn before, and by whom
        start, candidate, loss = time.monotonic(), network, float("nan")
        if epoch:
            candidate, loss = tuning.run_epoch(crops, f"epoch {epoch} of {config.fit.epochs}")
        elif config.backbone.weights != "none":  # a random backbone has no features to keep
            fit_head(network, batches.loader(config, train, labels, plain), positive)
        row = {"epoch": epoch, "seconds": time.monotonic() - start, "train_loss": loss}
        row |= validate(candidate, validation, positive)
        if better := all(row["shifted_auroc"] >= earlier["shifted_auroc"] for earlier in rows):
            backbone.save(candidate, run_dir / backbone.BEST)
        rows.append(row)
        write_history(rows, run_dir / "history.csv")
        tuning.save(rows, run_dir / RESUME)
        print_row(row, better)


def fit_head(network: Network, images: Loader, positive: int) -> None:
    """Set the head to the logistic regression on the frozen, pooled features of `images`, classes weighted equally."""
    features, labels = batches.outputs(network, network.pooled, images, "features")
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    regression = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000).fit(scaled, labels == positive)
    weight = torch.from_numpy(regression.coef_[0] / scaler.scale_)
    bias = float(regression.intercept_[0]) - float(weight @ torch.from_numpy(scaler.mean_))
    with torch.no_grad():  # split evenly, so that the difference of the two logits is the regression's
        for index, sign in ((positive, 0.5), (1 - positive, -0.5)):
            network.head.weight[index] = sign * weight
            network.head.bias[index] = sign * bias


class FineTuning:
    """The whole network under AdamW, lower layers slower, with warm-up, cosine decay and an average of the weights."""

    def __init__(self, network: Network, config: Config, steps_per_epoch: int) -> None:
        choices = config.fit
        self.config = config
        self.network = network
        groups = backbone.rate_groups(network, choices.learning_rate, choices.lowest_layer_rate)
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
        """The averaged network, and the mean loss."""
        losses = []
        self.network.train()
        for batch, label in track(images, what):
            logits = self.network(self.network.take(batch))
            loss = nn.functional.cross_entropy(logits, label.to(logits.device))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            losses.append(loss.item())
        return self.average.module, float(np.mean(losses))  # type: ignore[return-value]  # a copy of `network`, typed as any Module

    def save(self, rows: list[Row], path: Path) -> None:
        """All that the next epoch depends on; whole or not at all."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        aside = path.with_suffix(".tmp")
        with aside.open("wb") as file:
            torch.save({"config": self._identity(), "rows": rows, **parts}, file)
            os.fsync(file.fileno())
        aside.replace(path)

    def restore(self, path: Path) -> list[Row]:
        """The rows of the epochs that are done; none if nothing was saved.

        Raises ConfigError: it was saved under another configuration.
        """
        if not path.exists():
            return []
        state = torch.load(path, map_location=self.network.head.weight.device, weights_only=True)
        if state["config"] != self._identity():
            raise ConfigError(f"{path} was saved under another configuration; start a new run")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        return list(state["rows"])

    def _parts(self) -> dict[str, Any]:  # Any: torch has no common type of what has a state
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer, "schedule": self.schedule}

    def _identity(self) -> bytes:
        return msgspec.json.encode(with_paths(self.config, folder=Path(), weights=""))


def validate(network: Network, validation: dict[str, Loader], positive: int) -> Row:
    """AUROC of each split, and specificity and sensitivity where the two logits are equal."""
    row: Row = {}
    for split, images in validation.items():
        margin, truth = margins(network, images, positive)
        row[f"{split}_auroc"] = float(roc_auc_score(truth, margin))
        row[f"{split}_specificity"] = float((margin[~truth] < 0).mean())
        row[f"{split}_sensitivity"] = float((margin[truth] >= 0).mean())
    return row


def margins(network: Network, images: Loader, positive: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of each image, the positive logit less the other [N], and whether it is positive [N]."""
    logits, labels = batches.outputs(network, network, images, "validation")
    return logits[:, positive] - logits[:, 1 - positive], labels == positive


def write_history(rows: list[Row], path: Path) -> None:
    aside = path.with_suffix(".tmp")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    aside.replace(path)


def print_row(row: Row, better: bool) -> None:
    cells = [
        f"{row[f'{split}_auroc']:7.4f}  {row[f'{split}_specificity']:11.3f}  {row[f'{split}_sensitivity']:11.3f}"
        for split in ("val", "shifted")
    ]
    loss = f"{row['train_loss']:6.3f}" if row["epoch"] else "     –"
    print(f"{row['epoch']:5}  {row['seconds']:7.0f}  {loss}  │{'  │'.join(cells)}{'  best' if better else ''}", flush=True)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])

"""Stage 2: the head on frozen features, then the whole network, lower layers slower; keeps the best epoch.

    python -m training fit --run runs/1

The head comes first so that a random one does not distort the features (Kumar et al. 2022, arXiv 2202.10054).
"""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

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
from training.config import Config
from training.progress import track

Floats: TypeAlias = npt.NDArray[np.float64]


def run(config: Config, run_dir: Path) -> None:
    """Writes `best.safetensors`, replaced when an epoch is better, and `history.csv`."""
    torch.manual_seed(config.seed)
    records = data.read_manifest(run_dir / "manifest.csv")
    labels = data.label_names(records, config.data.positive)
    positive = labels.index(config.data.positive)
    size = config.backbone.image_size
    train = data.of_split(records, "train")

    network = backbone.place(backbone.build(config.backbone))
    if config.backbone.weights != "none":  # a random backbone has no features to keep
        fit_head(network, batches.loader(config, train, labels, batches.plain(size)), positive)

    validation = {
        name: batches.loader(config, data.of_split(records, name), labels, batches.plain(size)) for name in ("val", "shifted")
    }
    crops = batches.loader(config, train, labels, batches.augmented(size, config.augment), batches.balanced_sampler(train))
    best = -1.0
    for row, candidate in fine_tune(network, crops, config):
        for split, images in validation.items():
            margin, truth = margins(candidate, images, positive)
            row[f"{split}_auroc"] = roc_auc_score(truth, margin)
            row[f"{split}_specificity"] = float((margin[~truth] < 0).mean())
            row[f"{split}_sensitivity"] = float((margin[truth] >= 0).mean())
        append_row(run_dir / "history.csv", row)
        if better := row["shifted_auroc"] >= best:
            best = row["shifted_auroc"]
            backbone.save(candidate, run_dir / backbone.BEST)
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


def fine_tune(network: Network, images: Loader, config: Config) -> Iterator[tuple[dict[str, float], Network]]:
    """Yield after each epoch a row for the history and the averaged network; epoch 0 is the head alone."""
    choices = config.fit
    yield {"epoch": 0, "seconds": 0.0, "train_loss": float("nan")}, network
    groups = backbone.rate_groups(network, choices.learning_rate, choices.lowest_layer_rate)
    optimizer = AdamW(groups, weight_decay=choices.weight_decay)
    steps = choices.epochs * len(images)
    warmup = max(1, round(steps * choices.warmup_fraction))
    schedule = SequentialLR(
        optimizer,
        [LinearLR(optimizer, 0.01, total_iters=warmup), CosineAnnealingLR(optimizer, max(1, steps - warmup))],
        milestones=[warmup],
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(choices.ema_decay), use_buffers=True)
    for epoch in range(1, choices.epochs + 1):
        start, losses = time.monotonic(), []
        network.train()
        for batch, label in track(images, f"epoch {epoch} of {choices.epochs}"):
            logits = network(network.take(batch))
            loss = nn.functional.cross_entropy(logits, label.to(logits.device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            losses.append(loss.item())
        row = {"epoch": epoch, "seconds": time.monotonic() - start, "train_loss": float(np.mean(losses))}
        yield row, average.module  # type: ignore[misc]  # typed as any Module; it is a copy of `network`


def margins(network: Network, images: Loader, positive: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of each image, the positive logit less the other [N], and whether it is positive [N]."""
    logits, labels = batches.outputs(network, network, images, "validation")
    return logits[:, positive] - logits[:, 1 - positive], labels == positive


def append_row(path: Path, row: dict[str, float]) -> None:
    new = row["epoch"] == 0
    with path.open("w" if new else "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def print_row(row: dict[str, float], better: bool) -> None:
    if row["epoch"] == 0:
        print("epoch  seconds    loss  │  AUROC  specificity  sensitivity  │  the same on the shifted validation")
    cells = [
        f"{row[f'{split}_auroc']:7.4f}  {row[f'{split}_specificity']:11.3f}  {row[f'{split}_sensitivity']:11.3f}"
        for split in ("val", "shifted")
    ]
    loss = f"{row['train_loss']:6.3f}" if row["epoch"] else "     –"
    print(f"{row['epoch']:5}  {row['seconds']:7.0f}  {loss}  │{'  │'.join(cells)}{'  best' if better else ''}", flush=True)

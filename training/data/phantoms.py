"""Draws phantoms, synthetic chest X-rays, for tests and for a first try without data. They resemble X-rays only roughly.

    python -m training phantoms data/phantoms --count 300

Both labels share anatomy, size, contrast and noise. PNEUMONIA adds one to three soft opacities inside the lungs."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.progress import track

NORMAL, PNEUMONIA = "NORMAL", "PNEUMONIA"

Floats: TypeAlias = npt.NDArray[np.float64]


def draw(rng: np.random.Generator, sick: bool) -> npt.NDArray[np.uint8]:
    """One phantom, uint8 [height, width], sides 240–480 px."""
    height, width = (int(side) for side in rng.integers(240, 481, 2))
    # Coordinates from -1 to 1; the patient stands a little off centre and askew.
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    x, y = x + rng.uniform(-0.08, 0.08) + rng.uniform(-0.1, 0.1) * y, y + rng.uniform(-0.08, 0.08)

    body = _blob(x, y, 0, 0.25, 0.95, 1.25, softness=0.08)
    spine = _blob(x, y, 0, 0.2, 0.1, 1.4, softness=0.3)
    heart = _blob(x, y, 0.14, 0.3, rng.uniform(0.26, 0.36), 0.38, softness=0.2)
    sides = ((side * rng.uniform(0.4, 0.46), 0.02, 0.3, rng.uniform(0.58, 0.7)) for side in (-1, 1))
    lungs = np.maximum(*(_blob(x, y, *place, softness=0.18) for place in sides))
    ribs = 0.5 + 0.5 * np.sin(rng.uniform(17, 22) * (y + 0.5 * x**2) + rng.uniform(0, 6))

    density = 0.55 * body - 0.42 * lungs + 0.07 * ribs * body + 0.25 * spine * body + 0.3 * heart
    if sick:
        density += lungs * _opacities(rng, x, y)
    exposure = 255 * (rng.uniform(0.0, 0.1) + rng.uniform(0.75, 1.1) * density) + rng.normal(0, 6, density.shape)
    return np.asarray(np.clip(exposure, 0, 255), dtype=np.uint8)


def write_data_set(folder: Path, count: int, seed: int = 0) -> None:
    """Writes `folder`/train/{NORMAL,PNEUMONIA}/*.jpeg: `count` images, half of each label, with names like those of the Kermany
    data, and on average ten images of seven patients."""
    rng = np.random.default_rng(seed)
    for label in (NORMAL, PNEUMONIA):
        (folder / "train" / label).mkdir(parents=True, exist_ok=True)
    patient = 0
    for index in track(range(count), "phantoms"):
        sick = index % 2 == 1
        patient += int(rng.random() < 0.7) or index < 2
        name = f"person{patient}_{rng.choice(['bacteria', 'virus'])}_{index}" if sick else f"IM-{patient:04}-{index:04}"
        path = folder / "train" / (PNEUMONIA if sick else NORMAL) / f"{name}.jpeg"
        Image.fromarray(draw(rng, sick)).save(path, quality=90)


def _blob(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float, softness: float) -> Floats:
    """An ellipse: 1 inside, 0 outside, with an edge `softness` wide (as a share of its radius)."""
    radius = np.hypot((x - cx) / rx, (y - cy) / ry)
    return 1 / (1 + np.exp(np.clip((radius - 1) / (softness / 4), -50, 50)))


def _opacities(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    cloud = np.zeros_like(x)
    for _ in range(rng.integers(1, 4)):
        cx, cy = rng.choice([-1, 1]) * rng.uniform(0.3, 0.55), rng.uniform(-0.3, 0.45)
        size = rng.uniform(0.12, 0.25)
        cloud += rng.uniform(0.25, 0.4) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))
    return np.minimum(cloud, 0.5)

"""Draws images like those of a set, without a network: each place is a blend of what the images have at that place.

A diffusion model denoises white noise step by step. The best denoiser for a finite set is known in closed form, but gives back
one of its images. Let it see only a window around each pixel, and each place chooses for itself: the result is whole, since
windows overlap, and is no image of the set (Kamb & Ganguli 2024, arXiv 2412.20292). X-rays lie still enough for that: a place
is compared with the same place alone. The windows shrink while the noise does.

Tried, at 96 px: with all pixels of a window as evidence, one image alone wins almost everywhere (1.0 to 1.3 images in the blend
of a pixel), and the result is a copy of it. FREEDOM counts them as fewer, since neighbours tell much the same."""

from typing import NamedTuple

import numpy as np
import torch

STEPS = 20
NOISE = 4.0, 0.1  # standard deviations, of the first step and the last; those of an image are 1
WINDOW = 0.43, 0.094  # sides, as a share of the image's
COARSE = 4  # px
FREEDOM = 200.0  # independent pixels of a window. With 10 all drawn images are alike and blurred


class Drawn(NamedTuple):
    """`pixels` float32 [S, S], with mean 0 and deviation 1 in about. `largest_share`: in each pixel one image has the greatest
    part; this is the share of the pixels where it is the same one."""

    pixels: torch.Tensor
    largest_share: float


def standardise(images: torch.Tensor) -> torch.Tensor:
    """[N, S, S] with mean 0 and deviation 1 each: exposure is not drawn."""
    return (images - images.mean((1, 2), keepdim=True)) / images.std((1, 2), keepdim=True).clamp_min(1e-6)


def draw(images: torch.Tensor, seed: int) -> Drawn:
    """`images` float32 [N, S, S], standardised; S is a multiple of COARSE."""
    size, coarse = images.shape[-1], shrink(images)
    sigmas = np.geomspace(*NOISE, STEPS).tolist()
    noisy = sigmas[0] * torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    for sigma, following, side in zip(sigmas, [*sigmas[1:], 0.0], size * np.geomspace(*WINDOW, STEPS), strict=True):
        distance = window_mean((coarse - shrink(noisy[None])) ** 2, round(side / COARSE) // 2)
        weights = torch.softmax(-distance * FREEDOM / (2 * sigma**2), 0)
        clean = blend(weights, images)
        noisy = clean + (noisy - clean) * (following / sigma)
    winners = weights.argmax(0).flatten().bincount()
    return Drawn(noisy, float(winners.max() / winners.sum()))


def shrink(images: torch.Tensor) -> torch.Tensor:
    """[N, S / COARSE, S / COARSE]: windows are wide, so that coarse pixels tell them apart as well."""
    return torch.nn.functional.avg_pool2d(images, COARSE)


def blend(weights: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """[S, S]: the sum of the images, each times its own coarse weights."""
    total = torch.zeros(images.shape[1:])
    for some, part in zip(weights.split(64), images.split(64), strict=True):
        fine = torch.nn.functional.interpolate(some[None], scale_factor=COARSE, mode="bilinear")[0]
        total += (fine * part).sum(0)
    return total


def window_mean(values: torch.Tensor, reach: int) -> torch.Tensor:
    """[N, S, S]: means over the squares that reach so many pixels to each side, as far as they lie inside."""
    for _ in range(2):  # rows, then columns
        values = _running_mean(values, reach).transpose(1, 2)
    return values


def _running_mean(values: torch.Tensor, reach: int) -> torch.Tensor:
    size = values.shape[1]
    sums = torch.nn.functional.pad(values.cumsum(1), (0, 0, 1, 0))
    places = torch.arange(size)
    first, end = (places - reach).clamp_min(0), (places + reach + 1).clamp_max(size)
    return (sums[:, end] - sums[:, first]) / (end - first)[:, None]

import torch

from training.graph import rounding


def drawn(groups: int, rows: int, columns: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights [G, R, K], inputs [G, K, N] that depend on each other as neighbouring pixels do, steps [G, R]."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(groups, rows, columns, generator=generator, dtype=torch.float64)
    common = torch.randn(groups, 1, inputs, generator=generator, dtype=torch.float64)
    own = torch.randn(groups, columns, inputs, generator=generator, dtype=torch.float64)
    return weights, 1 + common + 0.1 * own, weights.abs().amax(2) / 31  # coarse steps, to see errors


def error(weights: torch.Tensor, rounded: torch.Tensor, inputs: torch.Tensor) -> float:
    return float(((weights - rounded) @ inputs).square().mean())


def test_errors_cancel_on_real_inputs() -> None:
    for groups, rows, columns in [(20, 1, 9), (1, 30, 300)]:  # depthwise, and wider than a block
        weights, inputs, step = drawn(groups, rows, columns, 2000)
        nearest = (weights / step[:, :, None]).round() * step[:, :, None]
        rounded = rounding.round_compensated(weights, inputs @ inputs.mT, step)
        assert error(weights, rounded, inputs) < 0.2 * error(weights, nearest, inputs)


def test_every_weight_is_a_whole_multiple_within_the_range() -> None:
    weights, inputs, _ = drawn(3, 5, 40, 500)
    step = weights.abs().amax(2) / rounding.LEVELS
    levels = rounding.round_compensated(weights, inputs @ inputs.mT, step) / step[:, :, None]
    assert (levels - levels.round()).abs().max() < 1e-9
    assert levels.round().abs().max() <= rounding.LEVELS


def test_inputs_that_tell_nothing_of_each_other_leave_the_nearest() -> None:
    weights, _, step = drawn(2, 4, 9, 10)
    rounded = rounding.round_compensated(weights, torch.eye(9, dtype=torch.float64).expand(2, 9, 9), step)
    assert torch.allclose(rounded, (weights / step[:, :, None]).round() * step[:, :, None])


def test_an_input_that_is_always_zero_does_not_matter() -> None:
    weights, inputs, step = drawn(1, 4, 9, 100)
    inputs[:, 3] = 0
    assert rounding.round_compensated(weights, inputs @ inputs.mT, step).isfinite().all()

"""Patterns of Cartesian sampling: how much they measure, where, and what cannot be asked of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion_engine.physics.mri_masks import PATTERNS, Sampling, acceleration, sampling_mask

DRAWN = tuple(pattern for pattern in PATTERNS if pattern != "uniform")


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("shape", [(64, 48), (63, 51)])
def test_the_calibration_and_the_acceleration(pattern: str, axes: int, shape: tuple[int, int]) -> None:
    sampling = Sampling(pattern, 4.0, calibration=8, axes=axes)
    mask = sampling_mask(shape, sampling, 3)
    rows, columns = shape
    middle = (slice(rows // 2 - 4, rows // 2 + 4), slice(columns // 2 - 4, columns // 2 + 4))
    assert bool(mask[middle].all())
    if axes == 1:
        assert bool((mask == mask[:, :1]).all())
    entries = rows if axes == 1 else rows * columns
    exact = entries / round(entries / 4)
    assert acceleration(mask) == pytest.approx(exact, rel=0.1 if pattern == "uniform" else 1e-12)
    assert torch.equal(mask, sampling_mask(shape, sampling, 3))
    assert not torch.equal(mask, sampling_mask(shape, sampling, 4))


def test_a_uniform_pattern_has_one_step() -> None:
    mask = sampling_mask((64, 4), Sampling("uniform", 4.0, calibration=6), 1)[:, 0]
    outside = torch.cat([torch.nonzero(mask[:29])[:, 0], torch.nonzero(mask[35:])[:, 0] + 35])
    steps = outside.diff()
    step = int(steps.mode().values)
    assert bool((steps % step == 0).all())
    grid = sampling_mask((60, 60), Sampling("uniform", 6.0, calibration=2, axes=2), 1)
    rows, columns = torch.nonzero(grid.sum(1) > 2)[:, 0].diff(), torch.nonzero(grid.sum(0) > 2)[:, 0].diff()
    assert int(rows.max()) * int(columns.max()) == 6


def test_a_gaussian_pattern_is_dense_in_the_middle() -> None:
    """The share of chosen lines falls as exp(-k^2 / (2 width^2)) where few are drawn."""
    sampling = Sampling("gaussian", 16.0, calibration=1, width=0.15)
    share = torch.stack([sampling_mask((256, 1), sampling, seed)[:, 0].double() for seed in range(300)]).mean(0)
    k = (torch.arange(256, dtype=torch.float64) - 128).abs() / 256
    near, far = share[(k > 0.02) & (k < 0.05)].mean(), share[(k > 0.27) & (k < 0.3)].mean()
    assert float(far / near) == pytest.approx(0.2, abs=0.07)
    flat = replace(sampling, pattern="random")
    share = torch.stack([sampling_mask((256, 1), flat, seed)[:, 0].double() for seed in range(300)]).mean(0)
    assert float(share[k > 0.3].mean()) == pytest.approx(15 / 255, rel=0.1)


def test_no_two_poisson_disc_entries_are_near() -> None:
    """At 8x a random pattern has many touching pairs, a Poisson-disc pattern none outside the block."""
    def touching(pattern: str) -> int:
        mask = sampling_mask((64, 64), Sampling(pattern, 8.0, calibration=2, axes=2), 0)
        mask[30:34, 30:34] = False
        return int((mask[1:] & mask[:-1]).sum() + (mask[:, 1:] & mask[:, :-1]).sum())

    assert touching("random") > 30
    assert touching("poisson") == 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_partial_fourier_and_ellipse_leave_out(pattern: str) -> None:
    sampling = Sampling(pattern, 4.0, calibration=6, axes=2, partial_fourier=0.75, elliptical=True)
    mask = sampling_mask((40, 32), sampling, 0)
    assert not bool(mask[:10].any())
    assert bool(mask[10:].any(1).sum() > 15)
    corners = torch.stack([mask[-3:, :3], mask[-3:, -3:]])
    assert not bool(corners.any())
    lines = sampling_mask((40, 32), Sampling(pattern, 2.0, calibration=6, partial_fourier=0.75), 0)
    assert not bool(lines[:10].any())
    if pattern in DRAWN:
        assert acceleration(mask) == 4
        assert acceleration(lines) == 2


def test_mask_refusals() -> None:
    for wrong, words in (
        ({"pattern": "spiral"}, "expected a pattern among"), ({"acceleration": 0.5}, "acceleration of at least 1"),
        ({"acceleration": float("nan")}, "acceleration of at least 1"), ({"axes": 3}, "1 or 2 axes"),
        ({"calibration": 0}, "at least 1 calibration line"), ({"width": 0.0}, "width above 0"),
        ({"partial_fourier": 0.5}, "partial Fourier share above 0.5"), ({"elliptical": True}, "pattern of 2 axes"),
    ):
        with pytest.raises(ValueError, match=words):
            Sampling(**wrong)
    with pytest.raises(ValueError, match=r"at most 5\.3 with a calibration block of 12 in 64 rows"):
        sampling_mask((64, 64), Sampling(acceleration=8.0, calibration=12), 0)
    with pytest.raises(ValueError, match="expected at most 16 calibration lines, found 24"):
        sampling_mask((16, 16), Sampling(), 0)
    with pytest.raises(ValueError, match=r"acceleration of at least 1\.33"):
        sampling_mask((64, 64), Sampling(acceleration=1.0, partial_fourier=0.75), 0)
    with pytest.raises(ValueError, match="reaches into"):
        sampling_mask((64, 64), Sampling(acceleration=2.0, partial_fourier=0.55), 0)

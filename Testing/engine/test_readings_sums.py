"""The sums of parallel views: their smooth course with the angle tells of scatter, and noise has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.readings.judge import judge
from diffusion_engine.physics.ct import CTGeometry
from diffusion_engine.physics.noise import simulate_counts
from diffusion_engine.physics.scatter import scattered
from readings_scans import geometry


def body(rays: CTGeometry) -> torch.Tensor:
    """Line integrals of an ellipse of water, 260 mm wide and 140 mm deep; of a disc in other beams."""
    if rays.type != "parallel":
        return disc_sinogram(rays, 0, 0, 100, 0.0193).float()
    theta = np.asarray(rays.angles_rad)[:, None]
    reach = np.hypot(130 * np.cos(theta), 70 * np.sin(theta))
    chord = 2 * 130 * 70 / reach * np.sqrt(np.clip(1 - (rays.detector_u_mm / reach) ** 2, 0, None))
    return torch.from_numpy((0.0193 * chord).astype(np.float32))


def scan(rays: CTGeometry, percent: float, std: float | None, seed: int = 0) -> Measurement:
    """Line integrals with white noise, or 1e5 counts."""
    clean = body(rays)
    read = scattered(clean, rays, percent) if percent else clean
    rng = np.random.default_rng(seed)
    if std is None:
        return Measurement(simulate_counts(read, 1e5, 0.0, rng)[None].numpy(), rays, 3.0, "counts", 1e5)
    return Measurement((read.numpy() + std * rng.standard_normal(read.shape)).astype(np.float32)[None], rays, 3.0)


def sums(measurement: Measurement) -> list[str]:
    return [remark.sentence for remark in judge(measurement).remarks if remark.kind == "smooth_sums"]


@pytest.mark.parametrize("std", [0.005, 0.03, None])
@pytest.mark.parametrize("views", [20, 60])
def test_scatter_is_remarked_and_noise_is_not(views: int, std: float | None) -> None:
    rays = geometry(views=views)
    assert all(sums(scan(rays, 0.0, std, seed)) == [] for seed in range(3))
    (sentence,) = sums(scan(rays, 20.0, std))
    assert "follow the angle smoothly" in sentence
    assert "scatter, beam hardening or a drift" in sentence


def test_the_stated_spread_is_that_of_the_sums() -> None:
    rays = geometry()
    measurement = scan(rays, 0.0, 1e-4)
    course = 1 + 0.02 * np.cos(2 * np.asarray(rays.angles_rad))[:, None]
    (sentence,) = sums(replace(measurement, values=(measurement.values * course).astype(np.float32)))
    assert "differ by 1.4 % (standard deviation)" in sentence
    # The order in which views are stored plays no part.
    shuffled = np.random.default_rng(0).permutation(60)
    turned = replace(rays, angles_rad=tuple(np.asarray(rays.angles_rad)[shuffled]))
    values = (measurement.values * course)[:, shuffled].astype(np.float32)
    assert sums(Measurement(values, turned, 3.0)) == [sentence]


@pytest.mark.parametrize("rays", [geometry("fan_flat"), geometry(views=8), geometry(count=64)],
                         ids=["fan", "few views", "cut off"])
def test_nothing_is_said_where_the_sums_need_not_be_equal(rays: CTGeometry) -> None:
    assert sums(scan(rays, 20.0, 0.005)) == []


def test_a_course_that_jumps_is_not_smooth() -> None:
    rays = geometry()
    measurement = scan(rays, 0.0, 1e-4)
    jumps = 1 + 0.02 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0)).numpy()
    assert sums(replace(measurement, values=(measurement.values * jumps).astype(np.float32))) == []

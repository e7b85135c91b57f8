"""The projector of emission tomography, attenuation, background and rebinning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.physics.attenuation import check_mu, mu_of_hu, on_grid, survival
from diffusion_engine.physics.ct import ImageGrid, fan_geometry, view_angles
from diffusion_engine.physics.decay import HALF_LIFE_S, mean_over_frame, remaining
from diffusion_engine.physics.pet import (
    FWHM_PER_SIGMA,
    EmissionProjector,
    count_factors,
    emission_geometry,
    emission_lines,
    smoothed,
)
from diffusion_engine.physics.pet_counts import drawn_counts, expected_background
from diffusion_engine.physics.rebinning import Segment, axial_error_mm, path_error, single_slice_rebinned
from diffusion_engine.volume import Volume

ROWS, COLUMNS, BINS, ANGLES = 24, 20, 30, 12
GRID = ImageGrid(ROWS, COLUMNS, (4.0, 5.0))
LINES = emission_lines(emission_geometry(view_angles(ANGLES, math.pi), BINS, 4.0), GRID, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projector(slices: int = 3, fwhm_mm: float = 9.0) -> EmissionProjector:
    return EmissionProjector(LINES, random(slices, ANGLES, BINS, seed=1), GRID.pixel_mm, fwhm_mm)


@pytest.mark.parametrize("part", [slice(None), slice(1, None, 4), torch.tensor([0, 5, 7])])
@pytest.mark.parametrize("fwhm_mm", [0.0, 9.0])
def test_adjoint_is_the_transpose_of_the_projector_and_its_subsets(part, fwhm_mm) -> None:
    operator = projector(fwhm_mm=fwhm_mm).subset(part)
    x, y = random(3, ROWS, COLUMNS), random(3, *operator.out_shape, seed=2)
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert abs(left - right) < 1e-6 * abs(left)


def test_subset_and_images_take_their_part_of_the_counts() -> None:
    operator, x = projector(), random(3, ROWS, COLUMNS)
    whole = operator.forward(x)
    assert torch.allclose(operator.subset(slice(2, None, 3)).forward(x), whole[:, 2::3])
    assert torch.allclose(operator.of_images(slice(1, 3)).forward(x[1:]), whole[1:])
    shared = EmissionProjector(LINES, random(1, BINS), GRID.pixel_mm)
    assert torch.allclose(shared.subset(slice(0, 4)).forward(x), shared.forward(x)[:, :4])
    assert shared.of_images(slice(0, 1)) is shared


def test_a_likelihood_of_several_slices_is_that_of_each() -> None:
    operator, x = projector(), random(3, ROWS, COLUMNS)
    counts = torch.poisson(operator.forward(x))
    whole = PoissonEmission(operator, counts, torch.full_like(counts, 0.5))
    one = PoissonEmission(operator.of_images(slice(1, 2)), counts[1:2], torch.full_like(counts[:1], 0.5))
    assert torch.allclose(whole.misfit(x)[1], one.misfit(x[1:2])[0])


def test_line_integrals_of_a_disc_are_its_chords_times_the_factors() -> None:
    grid = ImageGrid(120, 120, (2.0, 2.0), (0.0, 0.0))
    y, x = np.meshgrid(grid.y_mm, grid.x_mm, indexing="ij")
    parts = (-0.75, -0.25, 0.25, 0.75)
    fine = [np.hypot(y - 20 + a, x + 30 + b) < 60 for a in parts for b in parts]
    disc = torch.from_numpy(np.mean(fine, 0) * 5000.0)
    geometry = emission_geometry((0.0, 0.7, 2.0), 121, 2.0)
    factors = count_factors(60.0, 2e-3, torch.tensor(0.5), None).double()
    operator = EmissionProjector(emission_lines(geometry, grid, dtype=torch.float64), factors, grid.pixel_mm)
    counts = operator.forward(disc).numpy()
    for row, angle in zip(counts, geometry.angles_rad, strict=True):
        off = geometry.detector_u_mm - (-30 * math.cos(angle) - 20 * math.sin(angle))
        chord = 2 * np.sqrt(np.maximum(60.0**2 - off**2, 0))
        expected = 60 * 2e-3 * 0.5 * 5000 * chord
        assert np.abs(row - expected)[np.abs(off) < 55].max() < 0.02 * expected.max()
        assert row.sum() == pytest.approx(expected.sum(), rel=5e-3)


@pytest.mark.parametrize("centre_bin", [None, 10.0, 17.25])
def test_a_point_off_the_centre_meets_the_bin_of_its_place(centre_bin) -> None:
    grid = ImageGrid(41, 41, (2.0, 2.0))
    point = torch.zeros(41, 41, dtype=torch.float64)
    point[28, 15] = 1.0  # y = 16 mm, x = -10 mm
    angles = (0.0, math.pi / 4, math.pi / 2, 2.5)
    geometry = emission_geometry(angles, 61, 2.0, centre_bin)
    counts = emission_lines(geometry, grid, dtype=torch.float64).forward(point)
    middle = (counts * torch.arange(61)).sum(-1) / counts.sum(-1)
    for found, angle in zip(middle.tolist(), angles, strict=True):
        u = -10 * math.cos(angle) - 16 * math.sin(angle)
        assert found == pytest.approx((30 if centre_bin is None else centre_bin) + u / 2, abs=0.3)


def test_point_spread_has_its_width_and_keeps_the_sum() -> None:
    point = torch.zeros(61, 61, dtype=torch.float64)
    point[30, 30] = 1.0
    spread = smoothed(point, (2.0, 3.0), 7.0)
    assert spread.sum() == pytest.approx(1.0, abs=1e-9)
    place = torch.arange(61, dtype=torch.float64) - 30
    for axis, pixel in ((0, 2.0), (1, 3.0)):
        variance = (spread.sum(1 - axis) * (place * pixel) ** 2).sum().item()
        assert math.sqrt(variance) * FWHM_PER_SIGMA == pytest.approx(7.0, abs=1e-6)
    assert smoothed(point, (2.0, 3.0), 0.0) is point


def test_variance_of_drawn_counts_is_their_mean() -> None:
    mean = projector(1).forward(random(1, ROWS, COLUMNS))
    mean = mean + expected_background(mean, 4.0)
    generator = torch.Generator().manual_seed(3)
    draws = drawn_counts(mean.expand(4000, -1, -1), generator)
    seen = mean[0] > 1
    ratio = draws.var(0)[seen] / draws.mean(0)[seen]
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(drawn_counts(mean, torch.Generator().manual_seed(5)),
                       drawn_counts(mean, torch.Generator().manual_seed(5)))


def test_background_is_its_share_of_each_slice_and_positive_beside_the_body() -> None:
    trues = torch.zeros(2, ANGLES, BINS)
    trues[0, :, 12:18], trues[1, :, 10:14] = 10.0, 40.0
    background = expected_background(trues, 4.0, 0.3)
    assert torch.allclose(background.sum((1, 2)), 0.3 * trues.sum((1, 2)))
    assert (background > 0).all()
    assert background[0, 0, 15] > background[0, 0, 0]
    assert not expected_background(trues, 4.0, 0.0).any()
    with pytest.raises(ValueError, match="background share"):
        expected_background(trues, 4.0, -0.1)


@pytest.mark.parametrize(("factors", "words"), [
    (torch.ones(3, ANGLES + 1, BINS), "count factors"),
    (-torch.ones(1, ANGLES, BINS), "0 or more"),
    (torch.full((1, 1), math.nan), "0 or more"),
])
def test_bad_factors_are_refused(factors, words) -> None:
    with pytest.raises(ValueError, match=words):
        EmissionProjector(LINES, factors, GRID.pixel_mm)


def test_time_of_flight_and_fans_are_refused() -> None:
    with pytest.raises(ValueError, match="13 time-of-flight bins"):
        emission_geometry((0.0,), 10, 2.0, time_of_flight_bins=13)
    with pytest.raises(ValueError, match="parallel"):
        emission_lines(fan_geometry(GRID, 4), GRID)
    with pytest.raises(ValueError, match="duration"):
        count_factors(0.0, 1.0, None, None)


def test_no_weight_of_the_lines_is_negative() -> None:
    pixels = torch.eye(ROWS * COLUMNS, dtype=torch.float64).reshape(-1, ROWS, COLUMNS)
    assert LINES.forward(pixels).min() > -1e-12


def test_attenuation_of_tissues_by_the_bilinear_law() -> None:
    hu = np.array([-1024.0, -1000.0, -500.0, 0.0, 1000.0])
    assert mu_of_hu(hu, 120) == pytest.approx([0, 0, 0.0048, 0.0096, 5.10e-6 * 2000 + 4.71e-3], abs=1e-8)
    for kvp in (80, 100, 110, 120, 130, 140):  # the two lines meet at the break
        steps = np.diff(mu_of_hu(np.arange(20.0, 60.0), kvp))
        assert (np.abs(steps) < 4e-5).all()
    assert mu_of_hu(np.array([1000.0]), 80) < mu_of_hu(np.array([1000.0]), 140)
    with pytest.raises(ValueError, match="tube voltage"):
        mu_of_hu(hu, 90)


def test_survival_of_a_slab_is_the_exponential_of_its_thickness() -> None:
    grid = ImageGrid(60, 60, (4.0, 4.0))
    mu = torch.zeros(1, 60, 60, dtype=torch.float64)
    mu[0, 10:50, 5:55] = 0.0096
    lines = emission_lines(emission_geometry((0.0, math.pi / 2), 61, 4.0), grid, dtype=torch.float64)
    passed = survival(mu, lines)
    assert passed[0, 0, 30] == pytest.approx(math.exp(-0.0096 * 160), rel=1e-6)
    assert passed[0, 1, 30] == pytest.approx(math.exp(-0.0096 * 200), rel=1e-6)
    assert passed.max() == 1.0
    assert passed.min() > 0


@pytest.mark.parametrize(("change", "words"), [
    (lambda mu: mu * 10, "1/cm: divide the map by 10"),
    (lambda mu: mu / 0.0096 * 1000 - 1000, "HU: give it as CT"),
    (lambda mu: mu / 0.0096 * 1000, "is it a CT in HU, or scaled"),
    (lambda mu: mu * 0, "no value above 0"),
    (lambda mu: mu * np.nan, "NaN"),
    (lambda mu: mu - 0.005, "correct those voxels"),
])
def test_attenuation_maps_in_another_unit_are_refused(change, words) -> None:
    mu = np.zeros((2, 20, 20))
    mu[:, 4:16, 4:16] = 0.0096
    mu[:, 8:11, 6:9] = 0.003
    check_mu(mu)
    with pytest.raises(ValueError, match=words):
        check_mu(change(mu))


def affine(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return matrix


def test_a_map_on_another_grid_is_resampled_and_said() -> None:
    fine = affine((1.0, 1.0, 2.0), (-20.0, -30.0, 5.0))
    k, j, i = np.meshgrid(np.arange(20), np.arange(60), np.arange(50), indexing="ij")
    values = (0.01 + 1e-4 * (i - 20.0) + 2e-4 * (j - 30.0) + 3e-4 * (2.0 * k + 5.0)).astype(np.float32)
    volume = Volume(values, fine, "1/mm")
    same, nothing = on_grid(volume, fine, (20, 60, 50), 0.0)
    assert nothing is None
    assert same is volume.array
    coarse = affine((4.0, 4.0, 5.0), (-10.0, -20.0, 12.0))
    found, sentence = on_grid(volume, coarse, (4, 8, 7), 0.0)
    k, j, i = np.meshgrid(np.arange(4), np.arange(8), np.arange(7), indexing="ij")
    expected = 0.01 + 1e-4 * (4.0 * i - 10) + 2e-4 * (4.0 * j - 20) + 3e-4 * (5.0 * k + 12)
    assert found == pytest.approx(expected, abs=1e-6)
    assert sentence == "The attenuation map was resampled to the grid of the image by linear interpolation."
    found, sentence = on_grid(volume, affine((4.0, 4.0, 5.0), (-60.0, -20.0, 12.0)), (4, 8, 20), 0.0)
    assert found[0, 0, 0] == 0
    assert "it covers 50 %" in sentence
    with pytest.raises(ValueError, match="outside of the image"):
        on_grid(volume, affine((4.0, 4.0, 5.0), (500.0, 0.0, 0.0)), (4, 8, 7), 0.0)


def test_a_fine_map_is_averaged_over_the_voxels_of_the_image() -> None:
    stripes = np.zeros((1, 40, 40), np.float32)
    stripes[:, :, ::4] = 0.04
    volume = Volume(stripes, affine((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), "1/mm")
    found, _ = on_grid(volume, affine((4.0, 4.0, 1.0), (4.5, 4.5, 0.0)), (1, 7, 7), 0.0)
    assert found == pytest.approx(np.full((1, 7, 7), 0.01), abs=1e-7)


def test_decay_over_a_half_life_and_over_a_frame() -> None:
    half = HALF_LIFE_S["F-18"]
    assert remaining(half, half) == 0.5
    assert remaining(-half, half) == 2.0
    times = (np.arange(2000) + 0.5) / 2000 * 900
    assert mean_over_frame(900.0, half) == pytest.approx(np.mean([remaining(t, half) for t in times]), rel=1e-6)
    assert mean_over_frame(0.0, half) == 1.0
    with pytest.raises(ValueError, match="half-life"):
        remaining(1.0, 0.0)


def test_rebinned_counts_lie_in_their_planes_and_are_not_lost() -> None:
    rings, rng = 5, np.random.default_rng(0)
    direct = Segment(rng.poisson(9.0, (5, 4, 6)), 0, 2, 0.0)
    up = Segment(rng.poisson(9.0, (8, 4, 6)), 0 + 1, 1, 1.5)
    counts, lines = single_slice_rebinned((direct, up), rings)
    assert counts.shape == (9, 4, 6)
    assert counts.sum() == direct.counts.sum() + up.counts.sum()
    assert np.array_equal(counts[2], direct.counts[1] + up.counts[1])
    assert lines[:, 0, 0].tolist() == [1, 1, 2, 1, 2, 1, 2, 1, 2]


def test_rebinned_factors_keep_the_model_of_the_counts() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(1, 5, (9, 4, 6))
    factors = [rng.uniform(0.2, 1, (5, 4, 6)), rng.uniform(0.2, 1, (8, 4, 6))]
    parts = [Segment(factors[0] * truth[::2], 0, 2, 0.0), Segment(factors[1] * truth[1:], 1, 1, 1.5)]
    counts, sensitivity = single_slice_rebinned(parts, 5, factors)
    assert counts[1:] / sensitivity[1:] == pytest.approx(truth[1:], rel=1e-5)


@pytest.mark.parametrize(("segments", "words"), [
    ([], "none"),
    ([Segment(np.ones((5, 4, 6)), 0, 2, 0.0), Segment(np.ones((4, 4, 5)), 1, 2, 1.0)], "same angles and bins"),
    ([Segment(np.ones((6, 4, 6)), 0, 2, 0.0)], "0 to 8 of 5 rings"),
])
def test_segments_that_do_not_fit_are_refused(segments, words) -> None:
    with pytest.raises(ValueError, match=words):
        single_slice_rebinned(segments, 5)


def test_errors_of_rebinning_are_those_of_the_geometry() -> None:
    assert axial_error_mm(150.0, 10, 4.0, 400.0) == pytest.approx(150 * 40 / 800)
    assert path_error(10, 4.0, 400.0) == pytest.approx(math.sqrt(1 + 0.05**2) - 1)

"""Maps that warn: their null, peaks and thresholds, the matched filter, and findings made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.evaluation.calibrate_maps import Local, make_null
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.posterior.disagreement import Templates, disagreement
from diffusion_engine.posterior.findings import (
    DATA_DISAGREE,
    DECIDED_AND_DISAGREE,
    PRIOR_DECIDED,
    UNCERTAIN,
    find_regions,
)
from diffusion_engine.posterior.null import Null, covariates, fit_null, smoothed, stored
from diffusion_engine.posterior.warned import Warned, with_warnings
from diffusion_engine.posterior.warnings import APART_MM, heights, peaks, threshold_of, warnings_of
from diffusion_engine.priors.card import read_card, write_card
from diffusion_engine.priors.library import PRIORS_FOLDER
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.volume import Volume

RNG = np.random.default_rng(0)


def test_a_difference_is_in_standard_deviations_of_what_is_like_it() -> None:
    """Two tissues, one four times as uncertain: z is of unit variance in both, and a table goes through JSON."""
    spread = np.where(np.arange(40_000) % 2, 4.0, 1.0)
    difference = 0.1 * spread * RNG.standard_normal(40_000)
    local = np.stack([spread, np.zeros(40_000)])
    null = fit_null(difference, local)
    z = difference / null.at(local)
    assert z[spread == 1].std() == pytest.approx(1, abs=0.03)
    assert z[spread == 4].std() == pytest.approx(1, abs=0.03)
    again = stored(json.loads(json.dumps(replace(null, threshold=5.5).entry())))
    assert again.threshold == 5.5
    np.testing.assert_allclose(again.at(local), null.at(local), rtol=1e-3)
    # A lesion among them does not widen what it is measured by.
    difference[:200] += 50
    np.testing.assert_allclose(fit_null(difference, local).at(local), null.at(local), rtol=0.05)


def test_a_bin_of_few_voxels_has_the_spread_of_all_and_nothing_is_divided_by_zero() -> None:
    difference = np.concatenate([RNG.standard_normal(1000), [100.0]])
    local = np.stack([np.arange(1001.0), np.concatenate([np.zeros(1000), [1.0]])])
    everywhere = 1.4826 * float(np.median(np.abs(difference)))
    assert fit_null(difference[-3:], local[:, -3:]).at(local[:, -1:]) == pytest.approx(
        1.4826 * float(np.median(np.abs(difference[-3:]))))
    assert fit_null(difference, local).at(local).min() > 0.5 * everywhere
    assert fit_null(np.zeros(100), np.zeros((2, 100))).at(np.zeros((2, 1))) == pytest.approx(1e-6)
    with pytest.raises(ValueError, match=r"expected voxels of the body .* found none"):
        fit_null(np.zeros(0), np.zeros((2, 0)))
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        fit_null(np.array([np.nan]), np.zeros((2, 1)))


def test_covariates_are_the_spread_and_the_edges_of_what_is_shown() -> None:
    mean, spread = np.zeros((1, 20, 30)), np.full((1, 20, 30), 3.0)
    mean += 2.0 * np.arange(30)
    local = covariates(mean, spread, 1.5)
    np.testing.assert_allclose(local[0], 3, rtol=1e-5)
    np.testing.assert_allclose(local[1][:, :, 8:22], 2, rtol=1e-3)
    assert covariates(mean, None, 1.5)[0].max() == 0
    point = np.zeros((2, 21, 21))
    point[0, 10, 10] = 1
    found = smoothed(point, 1.5)
    assert found[1].max() == 0, "slices are not mixed"
    assert found[0, 10, 10] == pytest.approx(1 / (2 * np.pi * 1.5**2), rel=0.01)


def disc(shape: tuple[int, int, int], place: tuple[int, int, int], radius: float, height: float) -> np.ndarray:
    z = np.zeros(shape)
    j, i = np.mgrid[: shape[1], : shape[2]]
    away = np.hypot(j - place[1], i - place[2])
    z[place[0]] = np.where(away <= radius, height * (1 - 0.01 * away / radius), 0)
    return z


def test_warnings_are_at_the_peaks_in_the_patient() -> None:
    """Pixels of 2 mm, slices of 5 mm turned upside down: places in RAS, largest first, sizes of the discs."""
    z = disc((3, 40, 50), (1, 10, 20), 4, -8.0) + disc((3, 40, 50), (2, 30, 8), 3, 6.0)
    matrix = np.diag([-2.0, -2.0, -5.0, 1.0])
    matrix[:3, 3] = 100, 50, -30
    first, second = warnings_of(Volume(z.astype(np.float32), matrix, "1"), 5.0)
    assert first.ras == pytest.approx((60, 30, -35))
    assert (first.z, first.slice, second.slice) == (-8.0, 1, 2)
    assert second.ras == pytest.approx((84, -10, -40))
    pixels = np.count_nonzero(z[1])
    assert first.size_mm == pytest.approx(2 * np.sqrt(pixels * 4 / np.pi))
    assert [each.z for each in warnings_of(Volume(z.astype(np.float32), matrix, "1"), 7.0)] == [-8.0]


@pytest.mark.parametrize(("apart", "count"), [(3, 1), (4, 2)])
def test_peaks_lie_apart(apart: int, count: int) -> None:
    z = np.zeros((1, 20, 20))
    z[0, 8, 5], z[0, 8, 5 + apart] = 6.0, -7.0
    found = peaks(z, (1.0, 1.0, 1.0), 5.0)
    assert (len(found), found[0]) == (count, (0, 8, 5 + apart))
    assert len(peaks(z, (1.0, APART_MM, APART_MM), 5.0)) == 2
    z[0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        peaks(z, (1.0, 1.0, 1.0), 5.0)


def test_a_threshold_is_passed_once_in_32_slices() -> None:
    """Peaks with an exponential tail, 50 a slice: once in 32 slices they pass ln(1600) = 7.38."""
    few = [threshold_of(RNG.exponential(size=8 * 50), 8) for _ in range(100)]
    assert np.mean(few) == pytest.approx(np.log(1600), abs=0.4)
    many = RNG.exponential(size=320 * 50)
    assert threshold_of(many, 320) == pytest.approx(np.log(1600), abs=0.5)
    assert np.count_nonzero(many >= threshold_of(many, 320)) <= 10
    # One that stands out alone is seen, not smoothed over by the others.
    assert threshold_of(np.concatenate([np.ones(30), [9.0]]), 4) > 9
    with pytest.raises(ValueError, match=r"two peaks or more .* found 1 in 3 slices"):
        threshold_of(np.ones(1), 3)


def noise_slices(seed: int, amount: float, count: int = 6) -> Local:
    rng = np.random.default_rng(seed)
    difference = amount * smoothed(rng.standard_normal((count, 48, 48)), 1.5)
    local = np.stack([np.full_like(difference, amount), np.zeros_like(difference)])
    inside = np.ones(difference.shape, bool)
    inside[:, :4] = False
    return Local(difference, local, inside, (5.0, 2.0, 2.0))


def test_false_alarms_are_counted_on_volumes_that_the_threshold_has_not_seen() -> None:
    alike = make_null([[noise_slices(1, 1.0)], [noise_slices(2, 1.0)]])
    assert 3.0 < alike["threshold"] < 7.0
    assert alike["false_alarms_per_32_slices"] <= 6
    # A volume three times as noisy, which the covariates do not tell: the other's null does not hold for it.
    loud = noise_slices(3, 3.0)
    loud = loud._replace(local=np.stack([np.ones_like(loud.difference), np.zeros_like(loud.difference)]))
    assert make_null([[noise_slices(1, 1.0)], [loud]])["false_alarms_per_32_slices"] > 50
    outside = noise_slices(4, 1.0)
    outside.difference[:, :4] = 1e3  # nothing outside the body counts
    assert make_null([[outside]])["threshold"] < 7


GRID = ImageGrid(32, 40, (2.0, 2.0))


def gaussian_blob(row: float, column: float, pixels: float) -> torch.Tensor:
    j, i = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    return torch.exp(-((j - row) ** 2 + (i - column) ** 2) / (2 * pixels**2))[None]


def test_the_matched_filter_gives_a_missing_lesion_its_whole_signal() -> None:
    """r at its centre is |A g| / sigma, the largest that a linear filter can give; beside noise of unit variance."""
    operator = make_projector(parallel_geometry(GRID, 24, np.pi), GRID, device=torch.device("cpu"))
    lesion, noise = 0.01 * gaussian_blob(14, 18, 1.6), 0.02
    rng = torch.Generator().manual_seed(0)
    clean = operator.forward(torch.zeros(1, 32, 40))
    data = clean + noise * torch.randn((20, *clean.shape[1:]), generator=rng)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(noise**2))
    found = disagreement(likelihood, torch.zeros(20, 32, 40), seeded(1))
    assert float(found.square().mean().sqrt()) == pytest.approx(1, abs=0.1)
    signal = float(operator.forward(lesion).norm()) / noise
    exact = GaussianLikelihood(operator, operator.forward(lesion), torch.tensor(noise**2))
    height = disagreement(exact, torch.zeros(1, 32, 40), seeded(1))[0]
    assert float(height[14, 18]) == pytest.approx(signal, rel=0.15)
    assert divmod(int(height.argmax()), 40) == (14, 18)
    # The image that holds it leaves nothing.
    assert float(disagreement(exact, lesion, seeded(1)).abs().max()) < 1e-3


class OfImages:
    """Multiplies images by a number of their own."""

    in_shape = out_shape = (4, 4)
    view_axis = -2

    def __init__(self, factors: torch.Tensor) -> None:
        self.factors = factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors[:, None, None]

    adjoint = forward

    def of_images(self, index: slice) -> OfImages:
        return OfImages(self.factors[index])


def test_templates_are_adjoint_and_of_their_images() -> None:
    spectrum = torch.rand(4, 4, dtype=torch.float64)
    spectrum = spectrum + spectrum.flip(0, 1).roll((1, 1), (0, 1))
    own = Templates(OfImages(torch.tensor([1.0, 2.0], dtype=torch.float64)), spectrum)
    x, y = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close((own.forward(x) * y).sum(), (x * own.adjoint(y)).sum())
    torch.testing.assert_close(own.of_images(slice(1, 2)).forward(x[1:]), own.forward(x)[1:])


def test_of_complex_images_the_part_along_the_image_counts() -> None:
    operator = make_projector(parallel_geometry(GRID, 16, np.pi), GRID, device=torch.device("cpu"))
    phase = torch.exp(torch.tensor(1j))
    image = phase * gaussian_blob(16, 20, 8.0)

    def height(missing: torch.Tensor) -> float:
        whole = image + missing
        data = torch.complex(operator.forward(whole.real), operator.forward(whole.imag))

        class Both:
            in_shape, out_shape = operator.in_shape, operator.out_shape
            view_axis = -2

            @staticmethod
            def forward(x: torch.Tensor) -> torch.Tensor:
                return torch.complex(operator.forward(x.real), operator.forward(x.imag))

            @staticmethod
            def adjoint(y: torch.Tensor) -> torch.Tensor:
                return torch.complex(operator.adjoint(y.real), operator.adjoint(y.imag))

        likelihood = GaussianLikelihood(Both(), data, torch.tensor(0.01))
        return float(disagreement(likelihood, image, seeded(0))[0, 16, 20])

    brighter, turned = (height(0.1 * turn * phase * gaussian_blob(16, 20, 1.6)) for turn in (1, 1j))
    assert brighter > 1
    assert abs(turned) < 0.01 * brighter
    assert height(-0.1 * phase * gaussian_blob(16, 20, 1.6)) == pytest.approx(-brighter, rel=1e-4)


MATRIX = np.diag([-2.0, -2.0, 4.0, 1.0])
SHAPE = (4, 40, 40)


def warned(reason: str, z: np.ndarray, threshold: float, *indices: tuple[int, int, int]) -> Warned:
    places = tuple(tuple((MATRIX[:3] @ [i, j, k, 1.0]).tolist()) for k, j, i in indices)
    return Warned(reason, Volume(z.astype(np.float32), MATRIX, "1"), threshold, places)


def regions_with(maps: list[Warned]) -> Any:
    """A region of wide spread around (2, 25, 25), and what maps warn of."""
    spread = np.where(disc(SHAPE, (2, 25, 25), 5, 1.0) > 0, 30.0, 1.0)
    uncertainty, mean = (Volume(a.astype(np.float32), MATRIX, "HU") for a in (spread, 40 + np.zeros(SHAPE)))
    found = find_regions(uncertainty, mean, None, [], 20.0, 0.5, 50.0, {}, draw_count=4)
    assert [each.reason for each in found.findings] == [UNCERTAIN]
    segments = {"Liver": np.ones(SHAPE, bool)}
    return with_warnings(found, maps, uncertainty, mean, None, [], segments, draw_count=4)


def test_warned_places_come_first_and_one_that_two_maps_warn_of_is_one() -> None:
    decided = disc(SHAPE, (1, 10, 10), 3, 6.0) + disc(SHAPE, (3, 30, 8), 3, -9.0)
    disagree = disc(SHAPE, (1, 10, 11), 3, 10.0)
    found = regions_with([
        warned(PRIOR_DECIDED, decided, 4.0, (3, 30, 8), (1, 10, 10)), warned(DATA_DISAGREE, disagree, 5.0, (1, 10, 11)),
    ])
    assert found.count == 3
    first, second, third = found.findings
    assert [each.number for each in found.findings] == [1, 2, 3]
    assert [each.reason for each in found.findings] == [PRIOR_DECIDED, DECIDED_AND_DISAGREE, UNCERTAIN]
    assert (first.z, second.z, third.z) == (-9.0, 10.0, None)
    assert first.peak_ras_mm == pytest.approx((-16, -60, 12))
    pixels = np.count_nonzero(disagree[1] >= 5)
    assert second.volume_mm3 == pytest.approx(pixels * 16)
    assert (second.mean_value, second.segment, second.basis) == (40.0, "Liver", "map")
    assert second.half_width == pytest.approx(2.6, abs=0.5)
    for number, each in enumerate(found.findings, 1):
        assert np.count_nonzero(found.labels == number), each.reason
    assert np.count_nonzero(found.labels == 2) == pixels


def test_no_finding_is_without_a_voxel() -> None:
    """A warned region that holds the spread's region whole takes its place; peaks of one region are one place."""
    z = disc(SHAPE, (2, 25, 25), 7, 9.0)
    z[2, 25, 26] = 9.5
    found = regions_with([warned(PRIOR_DECIDED, z, 4.0, (2, 25, 26), (2, 25, 25))])
    assert [(each.reason, each.z) for each in found.findings] == [(PRIOR_DECIDED, 9.5)]
    assert found.count == 1
    assert set(np.unique(found.labels)) == {0, 1}
    apart = regions_with([warned(PRIOR_DECIDED, z + disc(SHAPE, (2, 8, 8), 3, 6.0), 4.0, (2, 25, 25), (2, 8, 8))])
    assert [each.z for each in apart.findings] == [9.0, 6.0]
    assert regions_with([]).findings[0].reason == UNCERTAIN


def test_a_map_of_another_result_is_refused() -> None:
    with pytest.raises(ValueError, match="map of 'the model decided' in the mean's shape"):
        regions_with([warned(PRIOR_DECIDED, np.zeros((4, 40, 41)), 4.0, (1, 1, 1))])
    with pytest.raises(ValueError, match="expected a place within the image"):
        regions_with([warned(PRIOR_DECIDED, np.ones(SHAPE), 4.0, (7, 1, 1))])


NULL = {
    "spread_edges": [1.0], "gradient_edges": [], "std": [[0.5], [1.0]], "threshold": 4.0,
    "false_alarms_per_32_slices": 0.9,
}


@pytest.mark.parametrize("wrong", [
    {"std": [[0.5]]}, {"std": [[0.5], [-1.0]]}, {"std": [[0.5], [float("nan")]]}, {"spread_edges": [2.0, 1.0]},
    {"threshold": 0}, {"threshold": None}, {"false_alarms_per_32_slices": -1},
])
def test_a_damaged_null_in_a_card_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    card = replace(read_card(PRIORS_FOLDER / "ct-body.json"), maps=[{"maps": {"prior_decided": NULL}}])
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json").maps == card.maps
    assert stored(NULL).at(np.array([[0.0, 2.0], [0.0, 0.0]])).tolist() == [0.5, 1.0]
    write_card(replace(card, maps=[{"maps": {"prior_decided": {**NULL, **wrong}}}]), tmp_path / "card.json")
    with pytest.raises(ValueError, match=r"map in the model card card\.json needs .*calibrate the maps again"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize("maps", [[{}], [{"maps": {}}], [{"maps": {"prior_decided": {"std": []}}}], ["x"]])
def test_a_card_whose_maps_lack_something_is_refused(tmp_path: Path, maps: list[Any]) -> None:
    write_card(replace(read_card(PRIORS_FOLDER / "ct-body.json"), maps=maps), tmp_path / "card.json")
    with pytest.raises(ValueError, match="calibrate the maps again"):
        read_card(tmp_path / "card.json")


def test_a_null_that_does_not_fit_its_edges_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a table of \(2, 1\) numbers"):
        stored({**NULL, "std": [[1.0]]})
    assert Null((), (), ((2.0,),)).at(np.zeros((2, 3))).tolist() == [2, 2, 2]
    assert heights(np.zeros((2, 5, 5)), (1.0, 1.0, 1.0)).size == 0

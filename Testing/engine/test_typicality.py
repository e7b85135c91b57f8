"""The typicality score: features of known denoisers, distances of known distributions, the shipped prior."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.scan import CTScan
from diffusion_engine.modalities.ct.trust import TRUST, covariates_of, typical_scans
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.posterior.typicality import (
    denoising_features,
    fit_typicality,
    of_rough_images,
    typicality,
    typicality_scores,
)
from diffusion_engine.run.likeness import judged_images, numbers_of_slices
from diffusion_engine.run.settings import Settings

GRID = ImageGrid(16, 20, (2.0, 2.0))


def halving(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
    """A denoiser that takes half of the input away."""
    return x / 2


def test_features_of_a_known_denoiser() -> None:
    """D - x = (s n - x) / 2, so its mean square is about (s^2 + mean x^2) / 4."""
    images = torch.stack([torch.zeros(16, 20), torch.full((16, 20), 3.0)])
    features = denoising_features(halving, images, GRID, (0.1, 1.0))
    assert features.shape == (2, 2)
    np.testing.assert_allclose(features[0], np.log([0.01 / 4, 1 / 4]), atol=0.3)
    np.testing.assert_allclose(features[1], np.log([9.01 / 4, 10 / 4]), atol=0.3)


def test_a_slice_does_not_depend_on_its_neighbours() -> None:
    images = torch.randn(3, 16, 20, generator=torch.Generator().manual_seed(0))
    whole = denoising_features(halving, images, GRID)
    torch.testing.assert_close(whole[1:2], denoising_features(halving, images[1:2], GRID))
    assert not torch.equal(whole, denoising_features(halving, images, GRID, seed=1))


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of 300 images of 30 volumes: normal, correlated, with a mean that moves with two numbers of the scan."""
    rng = np.random.default_rng(0)
    mixing = np.array([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [0.1, 0.1, 0.2]])
    numbers = np.stack([np.log(rng.choice([8, 20, 60], 300) / 22), rng.uniform(-2, 2, 300)], 1)
    features = rng.normal(size=(300, 3)) @ mixing.T + [-6, -5, -4] + numbers @ [[0.2, 0.2, 0.2], [0.5, 0.3, 0.0]]
    return features, numbers, [f"volume {n % 30}" for n in range(300)]


def test_the_score_is_the_mahalanobis_distance(sample: tuple) -> None:
    """Of three normal features it is chi with 3 degrees of freedom: median 1.54, 95 % below 2.80."""
    features, numbers, groups = sample
    entry = fit_typicality(features, numbers, groups)
    np.testing.assert_allclose(entry["slope"], [[0.2, 0.2, 0.2], [0.5, 0.3, 0.0]], atol=0.05)
    scores = typicality(features, numbers, entry)
    assert float(np.median(scores)) == pytest.approx(1.54, abs=0.15)
    assert entry["threshold"] == pytest.approx(2.8, abs=0.3)
    assert entry["full"] > entry["threshold"]
    assert (entry["images"], entry["volumes"]) == (300, 30)


def test_both_too_hard_and_too_easy_images_are_unlike(sample: tuple) -> None:
    entry = fit_typicality(*sample)
    centre = np.asarray(entry["mean"])[None]
    assert typicality(centre, (0.0, 0.0), entry)[0] < 0.1
    for shift in (-2.0, 2.0):
        assert typicality(centre + shift, (0.0, 0.0), entry)[0] > entry["full"]


def test_noise_of_the_scan_does_not_make_an_image_unlike(sample: tuple) -> None:
    """What moves the features by ten of their spreads is expected where the scan says so, and unlike where not."""
    entry = fit_typicality(*sample)
    noisy = np.asarray(entry["mean"])[None] + 6 * np.array([[0.5, 0.3, 0.0]])
    assert typicality(noisy, (0.0, 6.0), entry)[0] < 1
    assert typicality(noisy, (0.0, 0.0), entry)[0] > entry["full"]


def test_an_older_entry_knows_the_first_number_alone(sample: tuple) -> None:
    features, numbers, groups = sample
    entry = fit_typicality(features, numbers[:, :1], groups)
    older = {**entry, "slope": entry["slope"][0]}
    assert of_rough_images(older)
    assert not of_rough_images(entry)
    np.testing.assert_allclose(typicality(features, numbers, older), typicality(features, numbers[:, :1], entry))
    np.testing.assert_allclose(typicality(features, 0.4, older), typicality(features, (0.4, 9.0), older))


def test_too_few_volumes_are_refused(sample: tuple) -> None:
    features, numbers, _ = sample
    with pytest.raises(ValueError, match="3 volumes or more, found 2"):
        fit_typicality(features[:4], numbers[:4], ["a", "a", "b", "b"])


def test_scores_come_from_the_cards_entry(sample: tuple) -> None:
    entry = fit_typicality(*sample)
    images = torch.randn(2, 16, 20, generator=torch.Generator().manual_seed(3))
    expected = typicality(denoising_features(halving, images, GRID).numpy(), (0.3, 0.1), entry)
    assert typicality_scores(halving, images, GRID, (0.3, 0.1), entry) == pytest.approx(expected.tolist())


def test_a_scan_beyond_the_fit_is_taken_for_its_nearest() -> None:
    assert covariates_of(22, 0.2) == pytest.approx((0.0, 0.0), abs=0.01)
    assert covariates_of(120, 3.0) == covariates_of(900, 40.0) == pytest.approx((np.log(120 / 480**0.5), np.log(15)))
    assert covariates_of(8, 0.03) == covariates_of(3, 0.001) == pytest.approx((np.log(8 / 480**0.5), np.log(0.15)))


def test_the_scans_of_the_fit_span_views_and_both_kinds_of_noise() -> None:
    scans = [CTScan(**scan) for _ in range(30) for scan in typical_scans(np.random.default_rng(_))]
    assert {scan.geometry for scan in scans} == {"parallel", "fan_flat"}
    counted = [scan.i0 for scan in scans if scan.i0 is not None]
    white = [scan.noise_percent for scan in scans if scan.i0 is None]
    assert len(counted) == len(white) == 90
    for values, low, high in ((counted, 1e4, 1e7), (white, 0.1, 1.0), ([scan.views for scan in scans], 8, 120)):
        assert low <= min(values) < 1.2 * low
        assert high / 1.2 < max(values) <= high


def test_the_judged_image_is_converged_whatever_the_rays_weigh() -> None:
    """A rough image of photon counts has 50 times the noise left, from which no likeness to anything can be read."""
    volume = synthetic_chest((2, 40, 40), (10.0, 8.0, 8.0))[0]
    for noise in ({"i0": 1e5}, {"noise_percent": 1.0}):
        settings = Settings(device="cpu").changed(views=30, **noise)
        system = prepare(volume, settings, torch.device("cpu"), None).delivered
        rough = deque(system.classical("tv", 60), 1).pop()
        *_, image = judged_images(TRUST, system, rough, None)
        left = system.groups(image).mean(-1)
        assert bool((left < 3).all()), left
        older = {"slope": [0.1, 0.1, 0.1]}
        assert list(judged_images(TRUST, system, rough, older)) == [rough]
        numbers = numbers_of_slices(TRUST, system)
        assert numbers.shape == (2, 2)
        np.testing.assert_array_equal(numbers[1:], numbers_of_slices(TRUST, system.select(slice(1, 2))))
        assert numbers[0, 0] == pytest.approx(np.log(30 / 480**0.5))
    assert numbers[0, 1] == pytest.approx(np.log(5), abs=0.1)

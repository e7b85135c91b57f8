"""The typicality score: features of known denoisers, distances of known distributions, the shipped prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.ct.trust import density_of
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.posterior.typicality import denoising_features, fit_typicality, typicality, typicality_scores

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
    """Features of 300 images of 30 volumes: normal, correlated, with a mean that moves with the density of the scan."""
    rng = np.random.default_rng(0)
    mixing = np.array([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [0.1, 0.1, 0.2]])
    density = np.log(rng.choice([8, 20, 60], 300) / 22)
    features = rng.normal(size=(300, 3)) @ mixing.T + [-6, -5, -4] + 0.2 * density[:, None]
    return features, density, [f"volume {n % 30}" for n in range(300)]


def test_the_score_is_the_mahalanobis_distance(sample: tuple) -> None:
    """Of three normal features it is chi with 3 degrees of freedom: median 1.54, 95 % below 2.80."""
    features, density, groups = sample
    entry = fit_typicality(features, density, groups)
    scores = typicality(features, density, entry)
    assert float(np.median(scores)) == pytest.approx(1.54, abs=0.15)
    assert entry["threshold"] == pytest.approx(2.8, abs=0.3)
    assert entry["full"] > entry["threshold"]
    assert (entry["images"], entry["volumes"]) == (300, 30)


def test_both_too_hard_and_too_easy_images_are_unlike(sample: tuple) -> None:
    features, density, groups = sample
    entry = fit_typicality(features, density, groups)
    centre = np.asarray(entry["mean"])[None]
    assert typicality(centre, 0.0, entry)[0] < 0.1
    for shift in (-2.0, 2.0):
        assert typicality(centre + shift, 0.0, entry)[0] > entry["full"]


def test_too_few_volumes_are_refused(sample: tuple) -> None:
    features, density, _ = sample
    with pytest.raises(ValueError, match="3 volumes or more, found 2"):
        fit_typicality(features[:4], density[:4], ["a", "a", "b", "b"])


def test_scores_come_from_the_cards_entry(sample: tuple) -> None:
    entry = fit_typicality(*sample)
    images = torch.randn(2, 16, 20, generator=torch.Generator().manual_seed(3))
    expected = typicality(denoising_features(halving, images, GRID).numpy(), 0.3, entry)
    assert typicality_scores(halving, images, GRID, 0.3, entry) == pytest.approx(expected.tolist())


def test_a_scan_of_more_views_than_the_fit_has_seen_is_taken_for_its_densest() -> None:
    assert density_of(22) == pytest.approx(0.0, abs=0.01)
    assert density_of(60) == density_of(900) == pytest.approx(np.log(60 / 480**0.5))
    assert density_of(8) == density_of(3) == pytest.approx(-density_of(60))

"""Anomaly maps: exact for Gaussian images, a lesion stands out at a suitable level, and levels are stated."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.synthesis.anomaly import Anomaly, AnomalySettings, anomaly


def last(run: object) -> Anomaly:
    return deque(run, maxlen=1)[0]  # type: ignore[arg-type, no-any-return]


def white(variance: float, size: int = 32) -> GaussianDenoiser:
    return GaussianDenoiser(torch.zeros(size, size), torch.full((size, size), variance))


def test_the_healthy_image_and_its_spread_are_those_of_the_gaussian() -> None:
    """mean = g y, variance over noise and draws = g^2 s^2 + g s^2 with g = v / (v + s^2)."""
    v, s = 0.25, 0.4
    image = torch.full((1, 1, 32, 32), 0.7)
    found = last(anomaly(white(v), image, None, AnomalySettings(sigma=s, steps=16, draws=16), Noise(1)))
    gain = v / (v + s**2)
    assert (found.sigma, found.draws) == (s, 16)
    assert float(found.healthy.mean()) == pytest.approx(gain * 0.7, abs=0.01)
    assert float(found.difference.mean()) == pytest.approx((1 - gain) * 0.7, abs=0.01)
    torch.testing.assert_close(found.difference, image - found.healthy)
    wanted = ((gain**2 + gain) * s**2) ** 0.5
    assert float(found.spread.square().mean().sqrt()) == pytest.approx(wanted, rel=0.08)
    torch.testing.assert_close(found.z, found.difference / (found.spread**2 + 0.02**2).sqrt())


def test_what_the_prior_does_not_know_stands_out_more_at_a_higher_level() -> None:
    """Smooth images with a bright spot: the share of the spot that is taken away grows with the level."""
    frequency = torch.fft.fftfreq(48)
    spectrum = 4.0 * torch.exp(-((frequency[:, None] ** 2 + frequency**2) / (2 * 0.03**2))) + 1e-4
    prior = GaussianDenoiser(torch.zeros(48, 48), spectrum)
    image = torch.zeros(1, 1, 48, 48)
    image[..., 22:26, 22:26] = 0.5
    taken = []
    for sigma in (0.05, 0.2, 0.6):
        found = last(anomaly(prior, image, None, AnomalySettings(sigma=sigma, draws=6), Noise(2)))
        taken.append(float(found.difference[..., 22:26, 22:26].mean()))
        inside, outside = found.z[..., 22:26, 22:26], found.z[..., :12, :12]
        assert float(inside.mean()) > 3 * float(outside.abs().mean())
    assert taken == sorted(taken)
    assert taken[2] > taken[0] + 0.03


def test_draws_are_told_one_by_one_and_do_not_depend_on_their_number() -> None:
    image = torch.randn(2, 1, 8, 8)
    states = {n: list(anomaly(white(0.25, 8), image, None, AnomalySettings(draws=n), Noise(3))) for n in (1, 3)}
    assert [s.draws for s in states[3]] == [1, 2, 3]
    assert torch.equal(states[1][0].healthy, states[3][0].healthy)
    assert not states[1][0].spread.any()
    assert bool((states[3][2].spread > 0).all())


@pytest.mark.parametrize(("change", "sentence"), [
    ({"sigma": 0.0}, "noise level above 0.01"), ({"draws": 0}, "1 draw and 2 steps"), ({"floor": 0.0}, "above 0"),
    ({"sigma": float("nan")}, "noise level above"),
])
def test_settings_out_of_range_are_one_sentence(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AnomalySettings(**change)  # type: ignore[arg-type]


def test_images_that_cannot_be_compared_are_one_sentence() -> None:
    no_number = torch.full((1, 1, 8, 8), torch.nan)
    for image, sentence in ((torch.zeros(3, 8, 8), "expected an image"), (no_number, "finite")):
        with pytest.raises(ValueError, match=sentence):
            anomaly(white(0.25, 8), image, None, AnomalySettings(), Noise(0))

    def broken(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return x * torch.nan

    with pytest.raises(FloatingPointError, match="not finite"):
        last(anomaly(broken, torch.zeros(1, 1, 8, 8), None, AnomalySettings(), Noise(0)))

"""Translation, bridges and Bernoulli noise: exact where the answer is known."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.synthesis.bernoulli import Flips, backward, bernoulli_loss, drawn_masks, flipped, posterior
from diffusion_engine.synthesis.bridge import Bridge, between, bridge_loss, bridged
from diffusion_engine.synthesis.generate import Generation
from diffusion_engine.synthesis.translate import translated

VARIANCE = 0.04
"""Of the wanted image given the other: wanted = 0.6 given + 0.2 n."""
HOW = Generation(steps=28, sigma=(0.005, 10.0))


class Pair:
    """The exact denoiser of wanted pixels ~ N(0.6 given, 0.04); where nothing is given, about 0."""

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        mean = 0.6 * condition[:, 2:3]
        return mean + VARIANCE / (VARIANCE + sigma**2) * (x - mean)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def last(run: Any) -> Any:
    return deque(run, maxlen=1)[0]


def test_draws_have_the_mean_and_spread_of_the_wanted_image() -> None:
    given = torch.randn(2, 1, 20, 20)
    states = list(translated(Pair(), given, torch.zeros(2, 20, 20), HOW, 16, Noise(1)))
    assert [s.draws for s in states] == list(range(1, 17))
    assert not states[0].spread.any()
    torch.testing.assert_close(states[0].mean, states[0].draw)
    final = states[-1]
    assert float((final.mean - 0.6 * given).std()) == pytest.approx(0.2 / 4, rel=0.15)
    assert abs(float((final.mean - 0.6 * given).mean())) < 0.01
    assert float(final.spread.square().mean().sqrt()) == pytest.approx(0.2, rel=0.05)
    first = last(translated(Pair(), given[:1], torch.zeros(2, 20, 20), HOW, 1, Noise(1)))
    assert torch.equal(first.draw, states[0].draw[:1])
    with pytest.raises(ValueError, match="1 draw or more, found 0"):
        translated(Pair(), given, torch.zeros(2, 20, 20), HOW, 0, Noise(1))
    with pytest.raises(ValueError, match="finite"):
        translated(Pair(), given * torch.nan, torch.zeros(2, 20, 20), HOW, 1, Noise(1))


def told(x: torch.Tensor, deviation: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """E[wanted | state, given] of the pairs above, on a bridge of variance 0.25."""
    f = deviation.reshape(-1, 1, 1, 1) ** 2
    share = (1 - f / 0.25).clamp_min(0)
    seen = (f * share).clamp_min(1e-12)
    precision = 1 / VARIANCE + share**2 / seen
    return (0.6 * given / VARIANCE + share * (x - (1 - share) * given) / seen) / precision


def test_a_bridge_ends_at_the_wanted_image_of_the_given_one() -> None:
    given = torch.randn(1, 1, 40, 50)
    found = last(bridged(told, given, Bridge(60), Noise(2)))
    away = found - 0.6 * given
    assert abs(float(away.mean())) < 0.02
    assert float(away.std()) == pytest.approx(0.2, rel=0.08)
    flow = [last(bridged(told, given, Bridge(60), Noise(seed), random=False)) for seed in (1, 2)]
    assert torch.equal(*flow)


def test_states_of_a_bridge_lie_between_its_ends() -> None:
    bridge = Bridge(10, 0.25)
    forward = bridge.forward
    assert (float(forward[0]), float(forward[-1])) == (0.0, pytest.approx(0.25))
    assert bool((forward[1:] > forward[:-1]).all())
    torch.testing.assert_close(forward + forward.flip(0), torch.full((11,), 0.25, dtype=torch.float64))
    wanted, given = torch.randn(3, 1, 30, 30), torch.randn(3, 1, 30, 30)
    noise = torch.randn(3, 1, 30, 30)
    x = between(wanted, given, torch.tensor([0, 5, 10]), bridge, noise)
    torch.testing.assert_close(x[0], wanted[0])
    torch.testing.assert_close(x[2], given[2])
    torch.testing.assert_close(x[1], (wanted[1] + given[1]) / 2 + 0.0625**0.5 * noise[1])


def test_the_loss_of_a_bridge_is_least_for_the_true_prediction() -> None:
    given = torch.randn(64, 1, 8, 8)
    wanted = 0.6 * given + 0.2 * torch.randn(64, 1, 8, 8)
    step, noise = torch.randint(1, 11, (64,)), torch.randn(64, 1, 8, 8)
    losses = [
        float(bridge_loss(lambda x, d, g, by=by: told(x, d, g) + by, wanted, given, step, Bridge(10), noise))
        for by in (-0.05, 0.0, 0.05)
    ]
    assert losses[1] < min(losses[0], losses[2])
    assert float(bridge_loss(lambda *_: wanted, wanted, given, step, Bridge(10), noise)) == 0
    with pytest.raises(ValueError, match="steps from 1 to 10"):
        bridge_loss(told, wanted, given, step * 0, Bridge(10), noise)
    with pytest.raises(ValueError, match="2 steps or more"):
        Bridge(1)
    with pytest.raises(ValueError, match="finite"):
        bridged(told, given * torch.nan, Bridge(4), Noise(0))
    with pytest.raises(FloatingPointError, match="not finite"):
        last(bridged(lambda x, d, g: x * torch.nan, given, Bridge(4), Noise(0)))


FLIPS = Flips(6)


def chance_of(mask: torch.Tensor, step: int, image: torch.Tensor) -> torch.Tensor:
    """P(y_0 = 1 | y_t) by Bayes of independent voxels whose chance is the image's value."""
    kept = FLIPS.kept(step)
    like = [kept * (mask == k) + (1 - kept) / 2 for k in (0, 1)]
    return image * like[1] / (image * like[1] + (1 - image) * like[0])


def test_masks_are_drawn_as_often_as_the_image_says() -> None:
    image = torch.full((3, 1, 60, 60), 0.3)
    image[1], image[2] = 0.0, 0.9
    states = list(drawn_masks(chance_of, image, FLIPS, Noise(1)))
    assert len(states) == 6
    assert states[-1].unique().tolist() == [0, 1]
    assert states[-1].mean((1, 2, 3)).tolist() == pytest.approx([0.3, 0.0, 0.9], abs=0.02)
    with pytest.raises(ValueError, match="chances from 0 to 1"):
        last(drawn_masks(lambda y, t, i: y + 2, image, FLIPS, Noise(1)))


def test_flips_agree_with_their_posterior() -> None:
    """Of all masks flipped to step t, those at t - 1 are as often 1 as the posterior says."""
    clean = (torch.rand(1, 1, 200, 200) < 0.5).float()
    step = 4
    before = flipped(clean, step - 1, FLIPS, Noise(1))
    b = FLIPS.noise(step)
    after = (torch.rand(clean.shape) < (1 - b) * before + b / 2).float()
    assert float((after == clean).float().mean()) == pytest.approx((1 + FLIPS.kept(step)) / 2, abs=0.01)
    found = posterior(after, clean, step, FLIPS)
    for y in (0, 1):
        for c in (0, 1):
            part = (after == y) & (clean == c)
            assert float(before[part].mean()) == pytest.approx(float(found[part].mean()), abs=0.02)
    assert (FLIPS.kept(0), FLIPS.kept(6)) == (1.0, 0.0)
    with pytest.raises(ValueError, match="2 steps or more"):
        Flips(1)


def test_the_loss_of_flips_is_least_for_the_true_chance() -> None:
    clean = (torch.rand(1, 1, 150, 150) < 0.3).float()
    image = torch.full_like(clean, 0.3)
    for step in (1, 4):
        mask = flipped(clean, step, FLIPS, Noise(2))
        true = chance_of(mask, step, image)
        losses = [
            float(bernoulli_loss(torch.sigmoid(torch.logit(true) + by), mask, clean, step, FLIPS))
            for by in (-0.4, 0.0, 0.4)
        ]
        assert losses[1] < min(losses[0], losses[2])
    assert torch.equal(backward(clean, image, 1, FLIPS), image)

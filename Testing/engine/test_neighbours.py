"""A prior that looks at neighbouring slices: what it is told, stacks of any number, one slice alone, refusals."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from diffusion_engine.coupling import coupling_named
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.priors.card import check_seen
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.priors.neighbours import StackDenoiser, closeness, denoised
from diffusion_engine.priors.networks import PatchUNet
from torch import Tensor

SIGMA = torch.tensor(0.4)
PLACE = torch.full((2, 6, 6), 0.25)


@dataclass
class Watching:
    """Gives back the slice itself and remembers what it was told."""

    sigma_data: float = 0.3
    told: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        self.told.append(condition)
        return x


def stack(count: int) -> Tensor:
    """Slices that tell their number, from 1."""
    return torch.arange(1.0, count + 1)[:, None, None, None].expand(-1, 1, 6, 6)


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize(("slice_mm", "gap"), [(5.0, 1), (10.0, 1), (2.0, 2), (0.8, 5)])
def test_each_slice_is_seen_between_its_neighbours(count: int, slice_mm: float, gap: int) -> None:
    """In a fine stack those about 4 mm away, nearer ones are hardly known; beyond the ends there is nothing."""
    watching, x = Watching(), stack(count)
    assert torch.equal(StackDenoiser(watching, slice_mm)(x, SIGMA, PLACE), x)
    (told,) = watching.told
    assert told.shape == (count, 6, 6, 6)
    assert bool((told[:, :2] == 0.25).all())
    norm = (float(SIGMA) ** 2 + 0.3**2) ** 0.5
    for k, planes in enumerate(told):
        for other, image, close in zip((k - gap, k + gap), planes[2:4], planes[4:], strict=True):
            there = 0 <= other < count
            torch.testing.assert_close(image, torch.full((6, 6), (other + 1) / norm if there else 0.0))
            torch.testing.assert_close(close, torch.full((6, 6), closeness(gap * slice_mm) if there else 0.0))


def test_missing_neighbours_are_as_good_as_none() -> None:
    torch.manual_seed(0)
    network = PatchUNet(7, 1, (8, 12), 1)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    denoiser, x = EDMDenoiser(network), torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        alone = denoiser(x, SIGMA, PLACE)
        torch.testing.assert_close(StackDenoiser(denoiser, 5.0)(x[:1], SIGMA, PLACE), alone[:1])
        assert not torch.equal(StackDenoiser(denoiser, 5.0)(x, SIGMA, PLACE), alone)
        place = torch.cat([PLACE.expand(2, -1, -1, -1), torch.zeros(2, 2, 6, 6)], 1)
        # What stands where a neighbour is missing, be it noise, is not looked at.
        torch.testing.assert_close(denoised(denoiser, torch.cat([x, x, x], 1), SIGMA, place), alone)


def test_a_large_stack_is_denoised_in_parts_with_its_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = PatchUNet(7, 1, (8, 12), 1)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    card = load_prior("ct-body").card
    prior = Prior(card, EDMDenoiser(network.requires_grad_(False)), torch.device("cpu"), False)
    x = torch.randn(5, 1, 6, 6)
    whole = StackDenoiser(prior, 5.0)(x, SIGMA, PLACE)
    monkeypatch.setattr("diffusion_engine.priors.library.PIXELS_PER_CALL", 2 * 36)
    torch.testing.assert_close(StackDenoiser(prior, 5.0)(x, SIGMA, PLACE), whole)


def test_what_is_no_stack_is_refused() -> None:
    watching = Watching()
    with pytest.raises(ValueError, match="positive spacing and slice distance"):
        StackDenoiser(watching, 0.0)
    with pytest.raises(ValueError, match=r"expected slices \(slices, 1, rows, columns\)"):
        StackDenoiser(watching, 5.0)(torch.zeros(2, 3, 6, 6), SIGMA, PLACE)
    for sigma, place in ((torch.ones(2), PLACE), (SIGMA, None)):
        with pytest.raises(ValueError, match="shares one noise level and needs position planes"):
            StackDenoiser(watching, 5.0)(stack(2), sigma, place)
    card = load_prior("ct-body").card
    check_seen(card, "ztv")
    with pytest.raises(ValueError, match="ct-body sees a slice at a time: choose one that looks at neighbours"):
        check_seen(card, "neighbours")
    assert isinstance(coupling_named("neighbours").denoiser(watching, 5.0), StackDenoiser)
    assert coupling_named("none").denoiser(watching, 5.0) is watching

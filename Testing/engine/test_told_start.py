"""A network that is told the image that a reconstruction starts from: which one it gets, and zeros for none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser, mirrored_positions, positions, told_start
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import check_use, read_card
from diffusion_engine.priors.conditions import MASK, START, Condition
from diffusion_engine.priors.library import Prior
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from stub_priors import StubPrior, stub_prior
from torch import Tensor

CPU = torch.device("cpu")
RUN: dict[str, Any] = {
    "methods": ["diffusion"], "views": 16, "draws": 1, "steps": 3, "device": "cpu", "keep": ["mean"], "slab": 1,
}
TOLD = Condition(START).to_card()


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor | None], StubPrior]:
    """What a run's denoiser is given as its condition, call by call, and the prior."""
    seen: list[Tensor | None] = []
    prior = stub_prior(monkeypatch, condition=TOLD)
    plain = type(prior).__call__

    def call(self: Any, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        seen.append(condition)
        return plain(self, x, sigma, condition)

    monkeypatch.setattr(type(prior), "__call__", call)
    return seen, prior


@pytest.mark.parametrize(("coupling", "in_slabs"), [("none", False), ("ztv", False), ("ztv", True)])
def test_a_run_tells_it_the_start_of_each_slice(
    coupling: str, in_slabs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each its own, beside the positions, reversed where the image is; a slab gets those of its slices."""
    volume = synthetic_chest((2, 32, 40), (10.0, 9.0, 9.0))[0]
    seen, prior = watched(monkeypatch)
    settings = Settings.from_dict({**RUN, "coupling": coupling})
    problem = prepare(volume, settings, CPU, prior.card)
    start, grid = problem.prior.start(), problem.prior.grid
    list(diffusion_draws(problem, settings, prior, slice(0, 2), start, in_slabs))
    whole = told_start(positions(*grid.shape, grid.pixel_mm, grid.centre_mm), start)
    sides = {False: whole, True: mirrored_positions(whole.clone())}
    asked = torch.cat([planes for planes in seen if planes is not None and planes.ndim == 4])
    found = {
        (n, side) for planes in asked for n in (0, 1) for side, own in sides.items()
        if torch.allclose(planes, own[n], atol=1e-5)
    }
    assert found == {(0, False), (0, True), (1, False), (1, True)}
    assert all(any(torch.allclose(planes, own[n], atol=1e-5) for n in (0, 1) for own in sides.values())
               for planes in asked)


def test_the_whole_pipeline_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = watched(monkeypatch)
    reconstruct(synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0], RUN)
    told = [planes for planes in seen if planes is not None and planes.shape == (1, 3, 32, 40)]
    assert len(told) >= RUN["steps"]
    assert all(float(planes[0, 2].std()) > 0.05 for planes in told)


def test_a_method_that_samples_from_noise_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = watched(monkeypatch)
    volume = synthetic_chest((1, 16, 16), (10.0, 20.0, 20.0))[0]
    reconstruct(volume, RUN, solver="tmpd", solver_options={"products": 1})
    assert all(planes is not None and planes.ndim == 3 for planes in seen)


def test_where_no_start_is_known_its_plane_is_zero() -> None:
    torch.manual_seed(0)
    network = PatchUNet(inputs=4, channels=[8, 8], blocks=1, conditions=1)
    for values in network.parameters():
        torch.nn.init.normal_(values, std=0.1)
    card = replace(
        read_card(SHIPPED / "ct-body.json"), condition=TOLD,
        network={"inputs": 4, "outputs": 1, "channels": [8, 8], "blocks": 1, "conditions": 1},
    )
    prior = Prior(card, EDMDenoiser(network, card.sigma_data), CPU, False)
    x, sigma, place = torch.randn(2, 1, 16, 16), torch.tensor(0.3), positions(16, 16, (2.0, 2.0))
    nothing = told_start(place, torch.zeros(2, 16, 16))
    told = told_start(place, torch.randn(2, 16, 16))
    with torch.no_grad():
        both, first = prior(x, sigma, told), prior(x[:1], sigma, told[:1])
        assert torch.equal(both[:1], first), "no image depends on those beside it"
        assert torch.equal(prior(x, sigma, place), prior(x, sigma, nothing))
        assert not torch.allclose(prior(x, sigma, place), prior(x, sigma, told_start(place, torch.ones(2, 16, 16))))


def test_a_model_that_is_told_masks_reconstructs_nothing() -> None:
    card = read_card(SHIPPED / "ct-body.json")
    check_use(replace(card, condition=TOLD), "dds", "none")
    with pytest.raises(ValueError, match="told \\(a mask\\), not of measured data: choose another"):
        check_use(replace(card, condition=Condition(MASK, ("air", "rest")).to_card()), "dds", "none")

"""The optimiser of training: directions of equal length for inner convolutions, Adam for the rest, and its state."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training.optimiser import ADAM_SHARE, MuonWithAdam
from torch import nn

RATE = 0.01


def ready() -> PatchUNet:
    """A network with gradients of random images, none of them zero as at the start of a training."""
    torch.manual_seed(0)
    network = PatchUNet(channels=(8, 12), blocks=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    network(torch.randn(4, 3, 16, 16), torch.randn(4)).square().mean().backward()
    return network


def test_inner_convolutions_move_equally_far_in_all_directions_and_the_rest_as_adam_says() -> None:
    network = ready()
    before = copy.deepcopy(network.state_dict())
    MuonWithAdam(network, RATE).step(RATE)
    moved = {name: value - before[name] for name, value in network.state_dict().items()}
    rows, columns = 8, 8 * 9
    singular = torch.linalg.svdvals(moved["down.0.0.first.weight"].reshape(rows, columns)) / RATE
    # Five steps of Newton and Schulz bring singular values between about 0.7 and 1.2.
    assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.5
    for name in ("head.weight", "tail.weight", "down.0.0.modulation.weight", "down.0.0.first.bias"):
        # Adam's first step has the length of its rate wherever there is a gradient.
        lengths = moved[name].abs() / (ADAM_SHARE * RATE)
        assert 0.95 < float(lengths.median()) <= float(lengths.max()) < 1.05


def test_a_network_of_factors_alone_follows_adam() -> None:
    layer = nn.Linear(3, 2)
    layer(torch.randn(5, 3)).sum().backward()
    before = layer.weight.detach().clone()
    MuonWithAdam(layer, RATE).step(RATE)
    torch.testing.assert_close((layer.weight - before).abs(), torch.full((2, 3), ADAM_SHARE * RATE), rtol=0.05, atol=0)


def test_the_state_continues_the_same_steps() -> None:
    first = ready()
    optimiser = MuonWithAdam(first, RATE)
    optimiser.step(RATE)
    second = copy.deepcopy(first)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        q.grad = None if p.grad is None else p.grad.clone()
    continued = MuonWithAdam(second, RATE)
    continued.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    optimiser.step(RATE / 2)
    continued.step(RATE / 2)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_network_in_another_memory_format_is_refused() -> None:
    with pytest.raises(ValueError, match="channels_last"):
        MuonWithAdam(PatchUNet(channels=(8, 12), blocks=1), RATE)


def test_an_older_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"expected PyTorch 2\.9 or newer .*: install a newer one"):
        MuonWithAdam(ready(), RATE)
    MuonWithAdam(nn.Linear(3, 2), RATE)  # factors alone need none

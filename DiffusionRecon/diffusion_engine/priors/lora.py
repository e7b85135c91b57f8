"""Low-rank adapters of a network: W + s B A for every convolution and linear layer, kept apart from the weights.

The network itself is never written to: its layers are called with the adapted weights (a functional call), so dropping
the adapter, or setting its scale s to 0, gives the original bit for bit at any time. Source: arXiv:2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .foreign.edm_unet import Conv
from .state import differing

ADAPTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear, Conv)


class LowRank(nn.Module):
    """A network called with W + ``scale`` B A in place of the weight W of its convolutions and linear layers.

    W as a matrix of its first axis against the rest, (m, n); B (m, r) starts at zero and A (r, n) at random of ``seed``
    with variance 1 / n, r = ``rank`` or what the layer allows. Parameters and state are A and B alone, whose names end
    in "/A" and "/B". Raises ValueError for a rank below 1 or a network without such layers.
    """

    network: nn.Module

    def __init__(self, network: nn.Module, rank: int, seed: int = 0) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"expected an adapter of rank 1 or more, found {rank}: raise the rank")
        # Kept out of the registered modules, so that parameters() and state_dict() are the adapter's alone.
        object.__setattr__(self, "network", network)
        self.rank, self.scale = rank, 1.0
        self.factors = nn.ParameterDict()
        layers = {id(layer.weight) for layer in network.modules() if isinstance(layer, ADAPTED)}
        self.names = [name for name, weight in network.named_parameters() if id(weight) in layers]
        if not self.names:
            raise ValueError("the network has no convolution or linear layer, so nothing in it can be adapted")
        generator = torch.Generator().manual_seed(seed)
        for name in self.names:
            weight = network.get_parameter(name)
            rows, columns = weight.shape[0], weight[0].numel()
            inner = min(rank, rows, columns)
            start = torch.randn(inner, columns, generator=generator) / columns**0.5
            self.factors[_key(name, "A")] = nn.Parameter(start.to(weight))
            self.factors[_key(name, "B")] = nn.Parameter(torch.zeros(rows, inner).to(weight))

    def weights(self) -> dict[str, Tensor]:
        """The adapted weights by name; empty at scale 0."""
        if self.scale == 0:
            return {}
        result = {}
        for name in self.names:
            weight = self.network.get_parameter(name)
            change = self.factors[_key(name, "B")] @ self.factors[_key(name, "A")]
            result[name] = weight + self.scale * change.reshape(weight.shape)
        return result

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return functional_call(self.network, self.weights(), arguments, named)

    def merge(self) -> None:
        """Add the adapter to the network's own weights, for a network that is to stay adapted; then scale is 0."""
        with torch.no_grad():
            for name, value in self.weights().items():
                self.network.get_parameter(name).copy_(value)
        self.scale = 0.0


def _key(name: str, factor: str) -> str:
    """Name of a factor of a weight; a parameter's own name may hold no dot."""
    return f"{name.replace('.', '/')}/{factor}"


def restored(network: nn.Module, rank: int, factors: Mapping[str, Tensor]) -> LowRank:
    """An adapter of given factors (a state_dict of :class:`LowRank`); raises ValueError where they do not fit."""
    adapter = LowRank(network, rank)
    wrong = differing(factors, adapter.state_dict())
    if wrong:
        raise ValueError(
            f"the adapter does not fit its base prior: {len(wrong)} tensors differ, such as {wrong[0]}; use the "
            "prior that it was made for"
        )
    adapter.load_state_dict(dict(factors))
    return adapter

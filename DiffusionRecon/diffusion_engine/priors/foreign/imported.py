"""An imported network as a prior of this project: in network units, and without the positions it never learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ...denoiser import Denoiser
from .families import build
from .rescaled import Rescaled


class ImportedDenoiser(nn.Module):
    """D(x; s) of single-channel slices by a network of another project, see :mod:`.families`.

    ``around``: makes a denoiser in the network's own units; ``scale`` and ``offset``: network value =
    (value - offset) / scale. The position channels of a whole slice are not used; raises ValueError where more is asked
    for than a network of whole slices has learned: patches that must know their place, or several slices at once.
    """

    network: nn.Module

    def __init__(
        self, network: nn.Module, around: Callable[[nn.Module], Denoiser], scale: float, offset: float = 0.0
    ) -> None:
        super().__init__()
        self.network, self.around = network, around
        # Kept out of the registered modules: the network is already there.
        object.__setattr__(self, "rescaled", Rescaled(around(network), scale, offset))

    rescaled: Rescaled

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if x.shape[1] != 1:
            raise ValueError(
                f"an imported prior takes single slices, found {x.shape[1]} at once: choose a prior trained here on "
                "stacks, or a method for slices"
            )
        if condition is not None and condition.ndim == 4 and len(condition) > 1:
            raise ValueError(
                "an imported prior knows no positions, so it cannot place patches: choose a prior trained here, or a "
                "method for whole slices"
            )
        return self.rescaled(x, sigma)

    def with_network(self, network: nn.Module) -> ImportedDenoiser:
        """The same prior around another network, such as an adapted one."""
        return ImportedDenoiser(network, self.around, self.rescaled.scale, self.rescaled.offset)


def build_imported(network: dict[str, Any]) -> tuple[ImportedDenoiser, tuple[float, float]]:
    """The untrained denoiser of a card's network entry, and the noise levels it knows, in the prior's network units.

    Raises ValueError for an entry that is not known or not complete, and for networks of other than one channel.
    """
    entry = dict(network)
    try:
        scale, offset = float(entry.pop("scale")), float(entry.pop("offset"))
    except (KeyError, TypeError, ValueError):
        raise ValueError("an imported network needs scale and offset as numbers: import it again") from None
    foreign = build(entry)
    inputs, outputs = foreign.channels
    if inputs != 1 or outputs not in (1, 2):
        raise ValueError(
            f"the network takes {inputs} channels and gives {outputs}: only networks of single-channel images, with or "
            "without a learned variance, can be imported"
        )
    low, high = foreign.levels
    return ImportedDenoiser(foreign.network, foreign.around, scale, offset), (low * scale, high * scale)

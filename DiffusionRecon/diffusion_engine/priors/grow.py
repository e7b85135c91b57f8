"""Larger networks that begin as a smaller one: with more channels, neighbouring slices or whole volumes as input.

At first they give exactly what the smaller network gives, so that training continues instead of starting again.
Source: Net2Net, arXiv:1511.05641, where new channels copy old ones; here they are new features that nothing reads yet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .card import ALONE, VOLUME
from .networks import PatchUNet, seeing_network


def widened(network: PatchUNet, channels: tuple[int, ...]) -> PatchUNet:
    """The network with ``channels`` a level: old channels read old ones alone, new ones begin at random and unread.

    Raises ValueError where a level would lose channels or the number of levels differs.
    """
    if len(channels) != len(network.channels) or any(n < o for n, o in zip(channels, network.channels, strict=True)):
        raise ValueError(f"channels {network.channels} can only be widened, to as many levels: found {channels}")
    result = PatchUNet(
        network.inputs, network.outputs, channels, network.blocks, network.sees == VOLUME, network.conditions
    ).to(network.head.weight.device)
    state = result.state_dict()
    for name, old in network.state_dict().items():
        new = state[name]
        if name.endswith(("modulation.weight", "modulation.bias")):
            # The rows are a scale for each channel, then a shift for each.
            for half, part in zip(new.chunk(2), old.chunk(2), strict=True):
                half.zero_()[: len(part)] = part
        elif name.endswith("along.mix.weight"):
            # The columns read the slice below, the slice, the one above.
            for side, part in zip(new.chunk(3, 1), old.chunk(3, 1), strict=True):
                _place(side, part)
        elif old.ndim == 4 and "finer" in name:
            _place(new.transpose(0, 1), old.transpose(0, 1))
        elif old.ndim == 4:
            _place(new, old)
        else:
            new[: len(old)] = old
    result.load_state_dict(state)
    return result


def _place(new: Tensor, old: Tensor) -> None:
    """Put (outputs, inputs, ...) weights in the corner of larger ones, of which the old outputs read no new input."""
    rows, columns = old.shape[:2]
    new[:rows] = 0
    new[:rows, :columns] = old


def seeing(network: PatchUNet, seen: str) -> PatchUNet:
    """The network that also sees the slices below and above, or a volume, and makes nothing of them at first.

    Raises ValueError when ``network`` is not one of a slice and two planes.
    """
    if (network.inputs, network.outputs) != (ALONE, 1):
        raise ValueError(f"expected a network of one slice and two planes, found {network.inputs} inputs: use another")
    result = seeing_network(seen, network.channels, network.blocks).to(network.head.weight.device)
    head = torch.zeros_like(result.head.weight)
    head[:, : network.head.in_channels] = network.head.weight.detach()
    # The layers along the slices start at zero in the new network and are missing from the old one's state.
    result.load_state_dict({**result.state_dict(), **network.state_dict(), "head.weight": head})
    return result


def told(network: PatchUNet, conditions: int) -> PatchUNet:
    """The network that is also told a condition of so many channels, and makes nothing of it at first.

    Raises ValueError for a network that is told something already, has several channels, or is one of volumes.
    """
    _check_untold(network)
    result = PatchUNet(network.inputs + conditions, 1, network.channels, network.blocks, False, conditions).to(
        network.head.weight.device
    )
    head = torch.zeros_like(result.head.weight)
    head[:, : network.head.in_channels] = network.head.weight.detach()
    result.load_state_dict({**network.state_dict(), "head.weight": head})
    return result


def segmenting(network: PatchUNet, classes: int) -> PatchUNet:
    """A network of the bits of a segmentation, told the image: it sees in it what the prior of such images does.

    At first it reads no bit and says nothing of them, so that D(b; s) = c_skip b, what is best without knowledge.
    Raises ValueError as :func:`told`, and for a network that sees more than a slice.
    """
    _check_untold(network)
    if network.inputs != ALONE:
        raise ValueError(f"expected a network of one slice, found one that sees {network.sees}: use another")
    result = PatchUNet(ALONE + classes, classes, network.channels, network.blocks, False, 1).to(
        network.head.weight.device
    )
    old = network.head.weight.detach()
    head = torch.zeros_like(result.head.weight)
    # Every channel is four inputs, the corners of a block: bits, then positions, then the image.
    head[:, 4 * classes : -4], head[:, -4:] = old[:, 4:], old[:, :4]
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("tail")}
    nothing = {f"tail.{name}": torch.zeros_like(value) for name, value in result.tail.state_dict().items()}
    result.load_state_dict({**kept, **nothing, "head.weight": head})
    return result


def _check_untold(network: PatchUNet) -> None:
    if network.conditions or network.outputs != 1 or network.sees == VOLUME:
        raise ValueError(
            f"expected a network of single images that is told nothing, found one of {network.outputs} channels and "
            f"{network.conditions} conditions that sees a {network.sees}: start from another prior"
        )

"""Reading other people's weights without running their code: safetensors, or torch files of tensors alone."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

INNER_KEYS = ("ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "network")
PREFIXES = ("module.", "_orig_mod.", "model.", "unet.")
CONVERT = (
    "load it once with the program that made it, in a place where you trust it, and save model.state_dict() with "
    "safetensors.torch.save_file"
)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a torch file that holds tensors alone, in float32.

    Tensors may lie under a key such as "state_dict" or "ema" (preferred: it is what samples are drawn from), and under
    prefixes of wrappers, which are removed. Raises ValueError for whatever would need unpickling code.
    """
    if not path.is_file():
        raise ValueError(f"expected a file of weights, found none at {path}: give its path")
    content: Any
    if path.suffix == ".safetensors":
        try:
            content = load_safetensors(path.read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{path.name} is not a safetensors file ({error}): download it again") from None
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
            raise ValueError(
                f"{path.name} holds more than tensors, which could run code when read, or is damaged: {CONVERT}"
            ) from None
    content = _tensors(content)
    if not content:
        raise ValueError(f"{path.name} holds no named tensors: expected the state dict of a network; {CONVERT}")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in content.items()}


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for key in INNER_KEYS:
        if isinstance(content.get(key), Mapping):
            return _tensors(content[key])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """The network with these weights, ready for use; raises ValueError where names or shapes are not its own."""
    expected = network.state_dict()
    missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    shapes = sorted(n for n in set(expected) & set(state) if expected[n].shape != state[n].shape)
    if missing or unknown or shapes:
        first = (missing or unknown or shapes)[0]
        raise ValueError(
            f"the weights {source} do not fit the network described: {len(missing)} tensors are missing, "
            f"{len(unknown)} unknown, {len(shapes)} of another shape, such as {first}: correct the description"
        )
    bad = sorted(name for name, value in state.items() if not bool(torch.isfinite(value).all()))
    if bad:
        raise ValueError(f"the weights {source} hold values that are not finite, such as in {bad[0]}: get them again")
    network.load_state_dict(dict(state))
    return network.eval().requires_grad_(False)

"""Reading other people's weights without running their code: safetensors, or torch files of tensors alone."""

from __future__ import annotations

import json
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


def read_state(path: Path, exact: bool = False) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a torch file that holds tensors alone, in float32.

    ``exact``: half precision stays as it is in the file.

    Tensors may lie under a key such as "state_dict" or "ema" (preferred: it is what samples are drawn from), and under
    prefixes of wrappers, which are removed. Raises ValueError for files that need code to be unpickled.
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
    kept = (torch.float16, torch.bfloat16) if exact else ()
    return {
        name: value.float() if value.is_floating_point() and value.dtype not in kept else value
        for name, value in content.items()
    }


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


def differing(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names, in order, that only one of the two has, or whose shapes differ."""
    return sorted(
        n for n in {*found, *expected}
        if n not in found or n not in expected or found[n].shape != expected[n].shape
    )


def first_of(*paths: Path) -> Path:
    """The first of these paths that is a file; raises ValueError where none is."""
    for path in paths:
        if path.is_file():
            return path
    raise ValueError(f"expected {paths[0].name} in {paths[0].parent}, found none: give the folder that holds it")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; raises ValueError where it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"expected {path.name} in {path.parent}, found none: give the folder that holds it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): download it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold names and values: download it again")
    return content

"""Find, check and load priors: safetensors weights beside a model card, never a pickle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from ..denoiser import EDMDenoiser
from .adapter_card import SHIPPED, AdapterCard, adapted_card, base_card_path, is_adapter, read_adapter, read_any_card
from .card import PriorCard, read_card, sha256
from .foreign.families import FAMILIES
from .foreign.imported import ImportedDenoiser, build_imported
from .lora import LowRank, restored
from .networks import PatchUNet
from .state import differing

PRIORS_FOLDER = SHIPPED
NETWORKS = {"PatchUNet": PatchUNet}
PIXELS_PER_CALL = 8 * 256 * 256
POSITIONS = 2
"""Planes of them, which come before those of a condition."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A loaded prior: the denoiser contract in network units, and its card."""

    card: PriorCard
    denoiser: EDMDenoiser | ImportedDenoiser
    device: torch.device
    bf16: bool

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """D(x; sigma) in batches of bounded memory, with gradients only if ``x`` or the network asks for them.

        ``x``: (batch, channels, rows, columns); ``condition``: planes for all or (batch, planes, rows, columns). Or
        volumes, with slices before the rows, one of which is the least that is asked at once.

        Complex images, with complex noise of variance sigma^2 (half of it in either part), by their parts:

            D(x; sigma) = D(Re x; sigma / sqrt(2)) + i D(Im x; sigma / sqrt(2)),

        as arXiv:2110.05243 uses networks of real images; where their phase is known see :class:`.real_part.RealPart`.
        """
        if x.is_complex():
            return torch.complex(*(self(part, sigma / math.sqrt(2), condition) for part in (x.real, x.imag)))
        each = condition is not None and condition.ndim == x.ndim and len(condition) == len(x)
        # On a processor one image a call: as fast, and none depends on those beside it by another order of rounding.
        # Patches, which have positions of their own and are told nothing, are small.
        patches = condition is not None and each and condition.shape[-3] == POSITIONS
        alone = self.device.type == "cpu" and not patches
        count = 1 if alone else max(1, PIXELS_PER_CALL // x[0, 0].numel())
        wanted = x.requires_grad or any(p.requires_grad for p in self.denoiser.parameters())
        gradients = torch.set_grad_enabled(torch.is_grad_enabled() and wanted)
        planes = condition.split(count) if condition is not None and each else [condition] * -(-len(x) // count)
        with gradients, torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            parts = [
                self.denoiser(part, sigma, seen).float() for part, seen in zip(x.split(count), planes, strict=True)
            ]
        return torch.cat(parts)

    @property
    def sigma_data(self) -> float:
        """Standard deviation of clean images in network units."""
        return self.card.sigma_data

    def adaptable(self) -> tuple[nn.Module, Callable[[nn.Module], Prior]]:
        """The network, whose layers may be adapted, and what makes this prior again of an adapted one."""

        def around(network: nn.Module) -> Prior:
            return replace(self, denoiser=self.denoiser.with_network(network))

        return self.denoiser.network, around

    def own(self) -> EDMDenoiser:
        """The denoiser of a network of this project, to be trained further; raises ValueError for an imported one."""
        if isinstance(self.denoiser, ImportedDenoiser):
            raise ValueError(
                f"the prior {self.card.name} was imported, so it cannot be trained further here: choose a prior "
                "trained here, or train the imported one with its own program"
            )
        return self.denoiser


def list_priors(folder: Path = PRIORS_FOLDER) -> list[PriorCard]:
    """Cards of the priors in a folder, adapted ones too, by name; a broken card raises."""
    return [read_any_card(path) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)]


def load_prior(
    name: str, device: str | torch.device = "cpu", unit: str | None = "HU", bf16: bool | None = None
) -> Prior:
    """Load a shipped prior by name, or any by the path of its card, after checking hash, shapes and unit.

    The path of an adapter's card gives its base prior with the adapter added.
    ``unit``: that it must have, None for any. ``bf16``: compute in bfloat16; by default where :func:`suits_bf16`, for
    imported networks never: they were trained to be exact at noise levels that it cannot resolve. Raises ValueError.
    """
    path = PRIORS_FOLDER / f"{name}.json"
    if not path.exists():
        path = Path(name)
        if path.suffix != ".json" or not path.exists():
            names = ", ".join(card.name for card in list_priors()) or "none"
            raise ValueError(
                f"no prior named '{name}': choose one of {names}, or give the path of a model card (.json)"
            )
    if is_adapter(path):
        adapter = read_adapter(path)
        base = load_prior(str(base_card_path(adapter, path)), device, unit, bf16)
        read_adapter_weights(path, adapter, base.denoiser.network).merge()
        return replace(base, card=adapted_card(base.card, adapter))
    card = read_card(path)
    if unit is not None and card.unit != unit:
        raise ValueError(
            f"the prior {card.name} works in {card.unit}, not in {unit}: choose a prior trained for {unit}"
        )
    device = torch.device(device)
    denoiser = build_denoiser(card)
    network = denoiser.network
    network.load_state_dict(read_weights(path.with_name(card.weights), card, network.state_dict()))
    # The stubs of Module.to leave memory_format out.
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
    own = isinstance(denoiser, EDMDenoiser)
    suited = own and suits_bf16(device, card.sigma[0], card.sigma_data)
    return Prior(card, denoiser, device, suited if bf16 is None else bf16)


def build_denoiser(card: PriorCard) -> EDMDenoiser | ImportedDenoiser:
    """The untrained denoiser that the card describes."""
    if card.network.get("type") in FAMILIES:
        return build_imported(card.network)[0]
    return EDMDenoiser(build_network(card), card.sigma_data)


def build_network(card: PriorCard) -> PatchUNet:
    """The untrained network of this project that the card describes."""
    options = dict(card.network)
    kind = options.pop("type", None)
    if kind not in NETWORKS:
        known = sorted({*NETWORKS, *FAMILIES})
        raise ValueError(f"the card {card.name} asks for a network '{kind}': this version knows {known}")
    try:
        options["channels"] = tuple(options["channels"])
        return NETWORKS[kind](**options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the network in the card {card.name} cannot be built ({error}): correct the card") from None


def read_weights(path: Path, card: PriorCard, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a safetensors file; refuses pickles, a wrong hash, and names or shapes that are not the network's."""
    weights = read_tensors(path, card)
    wrong = differing(weights, expected)
    if wrong:
        raise ValueError(
            f"the weights {path.name} do not fit the network of their card: {len(wrong)} tensors differ, such as "
            f"{wrong[0]}"
        )
    return weights


def read_adapter_weights(path: Path, card: AdapterCard, network: nn.Module) -> LowRank:
    """The adapter of the card at ``path`` around its base's network; refuses as :func:`read_weights` does."""
    return restored(network, card.rank, read_tensors(path.with_name(card.weights), card))


def read_tensors(path: Path, card: PriorCard | AdapterCard) -> dict[str, Tensor]:
    """The tensors of a safetensors file, float32; refuses pickles and a hash that is not the card's."""
    if path.suffix != ".safetensors":
        raise ValueError(
            f"weights must be a .safetensors file, found {path.name}: pickled files can run code and are refused"
        )
    if not path.exists():
        raise ValueError(
            f"the weights {path.name} of prior {card.name} are missing beside the card: install them again"
        )
    if sha256(path) != card.sha256:
        raise ValueError(
            f"the weights {path.name} do not match the hash in their card: the file is damaged or another version"
        )
    try:
        weights = load_safetensors(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a safetensors file ({error}): pickled files can run code and are refused"
        ) from None
    return {name: value.float() for name, value in weights.items()}


def write_weights(network: torch.nn.Module, path: Path) -> str:
    """Write half-precision weights as safetensors and return the file's sha256."""
    halves = {name: value.detach().half().contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(halves, str(path))
    return sha256(path)


def suits_bf16(device: torch.device, smallest_sigma: float, sigma_data: float) -> bool:
    """Whether bfloat16 is faster here and fine enough: its 8 bits round images by about ``sigma_data`` / 128."""
    return has_fast_bf16(device) and smallest_sigma >= sigma_data / 128


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: CUDA from compute capability 8, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(device.type == "cpu" and probe is not None and probe())

"""A network of another project as the prior that an import makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusion_engine.priors.foreign.imported import ImportedDenoiser, build_imported
from diffusion_engine.priors.state import fill
from torch import Tensor


def imported(
    read: tuple[Mapping[str, Any], Mapping[str, Tensor]], scale: float = 1.0, offset: float = 0.0
) -> ImportedDenoiser:
    """The prior of what a family's ``read_`` function gave."""
    entry, state = read
    denoiser, _ = build_imported({**entry, "scale": scale, "offset": offset})
    fill(denoiser.network, state, "weights")
    return denoiser

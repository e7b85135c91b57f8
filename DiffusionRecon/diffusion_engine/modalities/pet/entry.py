"""PET as an entry of the table. No torch here: what needs it is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...volume import Volume
from ..contract import Asked, Cases, Classical, Modality
from .files import FILES
from .scale import SUV
from .scan import PETScan
from .tissues import HUNTED, LESIONS, TISSUES
from .trust import TRUST, typical_scans
from .unit_question import question_pet

if TYPE_CHECKING:
    import torch

    from ...priors.card import PriorCard
    from ..prepared import Extent, Prepared
    from .sinogram import Sinogram


def question(volume: Volume) -> str | None:
    """A sentence when a volume does not look like PET, also where it cannot be any, None when it does."""
    try:
        return question_pet(volume)
    except ValueError as error:
        return str(error)


def made_of(volume: Volume) -> Volume | None:
    """See :func:`....phantoms.uptake_by_density.uptake_by_density`."""
    from ...phantoms.uptake_by_density import uptake_by_density

    return uptake_by_density(volume)


def simulate(volume: Volume, asked: Asked) -> tuple[Sinogram, Volume, dict[str, Any]]:
    """The acquisition that is asked for, the reference image on its grid, and what is to be said of both."""
    from .problem import scanned

    sinogram, reference, notes = scanned(volume, asked, None)
    facts = {
        "shape": list(sinogram.prompts.shape), "counts": asked.scan.counts, "bin_mm": sinogram.bin_mm,
        "counts_per_bq": sinogram.counts_per_bq, "unit": volume.unit, "notes": notes,
    }
    return sinogram, reference, facts


def prepare(
    source: Volume | Sinogram, asked: Asked, device: torch.device, card: PriorCard | None,
    foreseen: Callable[[Extent], object],
) -> Prepared[Any]:
    """See :func:`.problem.prepare`."""
    from .problem import prepare as ready

    return ready(source, asked, device, card, foreseen)


def osem_oracle(system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.oracles.osem_oracle`."""
    from .oracles import osem_oracle as best

    return best(system, reference)


def rdp_oracle(system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.oracles.rdp_oracle`."""
    from .oracles import rdp_oracle as best

    return best(system, reference)


def in_words(scan: Mapping[str, Any]) -> str:
    """Such as "0.1 million counts a slice"."""
    counts = f"{scan['counts']:.3g} million counts a slice"
    return f"denoised as of {counts}" if scan.get("denoise") or scan.get("denoised") else counts


PET = Modality(
    name="pet", title="PET in SUV or Bq/mL", unit="SUV", scale=SUV, scan=PETScan, group="angle",
    classical=(Classical("osem", "OSEM"), Classical("rdp", "RDP")), fallback="rdp", default_prior="pet-torso",
    trust=TRUST, files=FILES, question=question, simulate=simulate, prepare=prepare, in_words=in_words,
    cases=Cases(
        smallest_matrix=64, depths=(0.3, 0.5, 0.7),
        calibrated=({"counts": 1.0}, {"counts": 0.1}, {"counts": 0.025}), typical=typical_scans,
        untested=("children", "tracers other than FDG"), tissues=TISSUES, lesions=LESIONS, hunted=HUNTED,
        made_of=made_of,
    ),
    solvers=("dds", "tmpd", "mmps"), presets=("standard", "posterior", "classical"),
    oracles={"osem-oracle": osem_oracle, "rdp-oracle": rdp_oracle},
    usual={
        "dds": {"broad_std": 0.0, "sigma_start": 1.0, "prior_variance": 0.3, "antithetic": True},
        "pet_dds": {"sigma_start": 1.0, "prior_variance": 0.3},
    },
)

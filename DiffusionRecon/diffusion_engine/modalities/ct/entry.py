"""CT as an entry of the table. No torch here: what needs it is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...volume import Volume
from ..contract import Asked, Cases, Classical, Modality, Smooth
from .files import FILES
from .hu_question import question_hu
from .scale import HU
from .scan import CTScan
from .tissues import HUNTED, LESIONS, TISSUES
from .trust import TRUST, typical_scans

if TYPE_CHECKING:
    import torch

    from ...priors.card import PriorCard
    from ..prepared import Extent, Prepared
    from .measurement import Measurement


def simulate(volume: Volume, asked: Asked) -> tuple[Measurement, Volume, dict[str, Any]]:
    """The scan that is asked for, the reference image on its grid, and what is to be said of both."""
    import torch

    from .measurement import Measurement
    from .problem import prepare as ready

    problem = ready(volume, asked, torch.device("cpu"), None)
    likelihood = problem.delivered.measured
    measurement = Measurement(
        likelihood.data.numpy(), problem.delivered.geometry, float(volume.spacing_mm[2]),
        variance=likelihood.variance.numpy(),
    )
    assert problem.reference is not None
    facts = {
        "shape": list(likelihood.data.shape), "noise_std": problem.delivered.noise_std, "notes": problem.notes,
        **problem.describe(),
    }
    return measurement, problem.deliver(problem.reference), facts


def prepare(
    source: Volume | Measurement, asked: Asked, device: torch.device, card: PriorCard | None,
    foreseen: Callable[[Extent], object],
) -> Prepared[Any]:
    """See :func:`.problem.prepare`."""
    from .problem import prepare as ready

    return ready(source, asked, device, card, foreseen)


def smooth_sums(system: Any, x: Any) -> Any:
    """See :func:`.smooth.smooth_sums`."""
    from .smooth import smooth_sums as sums

    return sums(system, x)


def tv_oracle(system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.oracle.tv_oracle`."""
    from .oracle import tv_oracle as best

    return best(system, reference)


def in_words(scan: Mapping[str, Any]) -> str:
    """Such as "parallel, 60 views", and what else of the scan is told: "parallel, 60 views, 100000 photons a ray"."""
    photons, noise, scatter = (scan.get(name) for name in ("i0", "noise_percent", "scatter_percent"))
    parts = [
        str(scan["geometry"]), f"{scan['views']} views", f"{photons:g} photons a ray" if photons else "",
        f"{noise:.2g} % noise" if noise and not photons else "", f"{scatter:g} % scatter" if scatter else "",
        "beam hardening" if scan.get("beam_hardening") else "",
    ]
    return ", ".join(part for part in parts if part)


CT = Modality(
    name="ct", title="CT in HU", unit="HU", scale=HU, scan=CTScan, group="view",
    classical=(Classical("fbp", "FBP", fitted=False, at_once=True), Classical("tv", "TV")), fallback="tv",
    default_prior="ct-body", trust=TRUST, files=FILES, question=question_hu, simulate=simulate, prepare=prepare,
    in_words=in_words,
    cases=Cases(
        smallest_matrix=512, binned=2, fixed={"arc_degrees": None},
        calibrated=(
            {"geometry": "parallel", "views": 60}, {"geometry": "parallel", "views": 20},
            {"geometry": "parallel", "views": 8}, {"geometry": "fan_flat", "views": 60},
        ),
        tissues=TISSUES, lesions=LESIONS, hunted=HUNTED,
        typical=typical_scans, untested=("CT of heads", "children", "large metal implants"),
    ),
    oracles={"tv-oracle": tv_oracle},
    smooth=Smooth(smooth_sums, "scatter, beam hardening or a wrong count of the unattenuated beam"),
)

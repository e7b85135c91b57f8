"""MRI as an entry of the table. No torch here: what needs it is imported when it is called."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...volume import Volume
from ..contract import Asked, Cases, Classical, Modality
from .files import FILES
from .question import question_mr
from .scale import ARBITRARY
from .scan import MRIScan
from .tissues import HUNTED, LESIONS, TISSUES
from .trust import TRUST, typical_scans

if TYPE_CHECKING:
    import torch

    from ...priors.card import PriorCard
    from ..prepared import Extent, Prepared
    from .kspace import KSpace


def simulate(volume: Volume, asked: Asked) -> tuple[KSpace, Volume, dict[str, Any]]:
    """The acquisition that is asked for, the reference image on its grid, and what is to be said of both."""
    from .problem import scanned

    kspace, reference, notes = scanned(volume, asked, None)
    facts = {
        "shape": list(kspace.values.shape), "acceleration": round(kspace.acceleration, 4),
        "pixel_mm": list(kspace.pixel_mm or ()), "notes": notes,
    }
    return kspace, reference, facts


def prepare(
    source: Volume | KSpace, asked: Asked, device: torch.device, card: PriorCard | None,
    foreseen: Callable[[Extent], object],
) -> Prepared[Any]:
    """See :func:`.problem.prepare`."""
    from .problem import prepare as ready

    return ready(source, asked, device, card, foreseen)


def wavelet_oracle(system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.oracle.wavelet_oracle`."""
    from .oracle import wavelet_oracle as best

    return best(system, reference)


def tv_oracle(system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.oracle.tv_oracle`."""
    from .oracle import tv_oracle as best

    return best(system, reference)


def peer(name: str, system: Any, reference: np.ndarray) -> tuple[np.ndarray, Mapping[str, list[Any]]]:
    """See :func:`.peers.bart_image`."""
    from .peers import bart_image

    return bart_image(name, system, reference)


def in_words(scan: Mapping[str, Any]) -> str:
    """Such as "8-fold acceleration"."""
    return f"{scan['acceleration']:.3g}-fold acceleration"


PEERS = ("bart-wavelet", "bart-tv", "bart-sense")
"""Images of another program, which are offered where it is installed."""

MRI = Modality(
    name="mri", title="MR images", unit="a.u.", scale=ARBITRARY, scan=MRIScan, group="line",
    classical=(
        Classical("zero-filled", "zero-filled", fitted=False, at_once=True), Classical("sense", "CG-SENSE"),
        Classical("tv", "TV"), Classical("wavelet", "l1-wavelet"),
    ),
    fallback="wavelet", default_prior="mr-head", trust=TRUST, files=FILES, question=question_mr, simulate=simulate,
    prepare=prepare, in_words=in_words,
    cases=Cases(
        smallest_matrix=96, depths=(0.4, 0.55, 0.7), fixed={"matrix": 256, "field_mm": 230.4},
        calibrated=({"acceleration": 4.0}, {"acceleration": 8.0}), training_depths=(0.3, 0.5, 0.65),
        typical=typical_scans, untested=("children", "large metal implants"),
        tissues=TISSUES, lesions=LESIONS, hunted=HUNTED,
    ),
    solvers=(
        "consistency", "pigdm", "diffpir", "ddnm", "ccdf", "r2d2", "hijack", "song", "dps", "mcg", "red_diff", "ilvr",
        "scd",
    ),
    presets=("standard", "posterior", "classical"),
    phase=True,
    oracles={
        "wavelet-oracle": wavelet_oracle, "tv-oracle": tv_oracle,
        **{name: partial(peer, name) for name in PEERS if shutil.which("bart")},
    },
    usual={"dds": {
        "steps": 30, "sigma_start": 1.0, "sigma_end": 0.005, "antithetic": True, "broad_std": 0.0,
        "prior_variance": 1.0,
    }},
)

"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .contract import Method
from .daps import DAPSSettings, daps
from .dds import DDSSettings, dds
from .mmps import MMPSSettings, mmps
from .pnp_dm import PnPDMSettings, pnp_dm
from .scd import SCDSettings, scd
from .tmpd import TMPDSettings, tmpd

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct",), "30", "arXiv:2303.05754",
        ),
        Method(
            "mmps", "Moment matching posterior sampling", "draws of the posterior, by its probability flow", mmps,
            MMPSSettings, "posterior", "noise", ("ct",), "31, and up to 124 Jacobian products", "arXiv:2405.13712",
        ),
        Method(
            "tmpd", "Tweedie moment projected diffusion", "draws of the posterior, by its reverse diffusion", tmpd,
            TMPDSettings, "posterior", "noise", ("ct",), "60, and up to 180 Jacobian products", "arXiv:2310.06721",
        ),
        Method(
            "pnp-dm", "Plug-and-play diffusion models", "posterior draws without Jacobian products, any noise model",
            pnp_dm, PnPDMSettings, "concentrated", "noise", ("ct",), "2880", "arXiv:2405.18782",
        ),
        Method(
            "daps", "Decoupled annealing posterior sampling", "draws for any noise model in few calls", daps,
            DAPSSettings, "concentrated", "noise", ("ct",), "420", "arXiv:2407.01521",
        ),
        Method(
            "scd", "Steerable conditional diffusion", "anatomy unknown to the prior: it adapts to the data", scd,
            SCDSettings, "concentrated", "image", ("ct",), "60, and 216 with gradients", "arXiv:2308.14409",
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]

"""Written by ``python -m diffusion_engine.solvers.listing``: the catalogue without torch."""

from __future__ import annotations

from typing import Any

LISTED: list[dict[str, Any]] = [
    {
        "name": "dds",
        "title": "Decomposed diffusion sampling",
        "purpose": "fast and accurate images from a linear scan",
        "spread": "concentrated",
        "modalities": ["ct"],
        "calls": "30",
        "source": "arXiv:2303.05754",
        "steps": 30,
        "options": [
            ["sigma_end", 0.01],
            ["eta", 1.0],
            ["prior_variance", 2.0],
            ["cg_iterations", 8],
            ["cg_tolerance", 0.001],
        ],
    },
]

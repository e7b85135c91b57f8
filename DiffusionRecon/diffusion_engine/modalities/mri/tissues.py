"""Where in MR images known lesions can lie, and which ones are tried. No torch here."""

from __future__ import annotations

from ..contract import Tissue, Wanted

TISSUES = (Tissue("tissue", 0.15, 0.9, 0.05),)
"""Even parts of any brightness: what is bright depends on the sequence. In network units."""

LESIONS = tuple(
    Wanted("tissue", diameter, contrast, share=True) for diameter in (10.0, 5.0) for contrast in (0.15, -0.15)
)
"""Those of an evaluation: 15 % brighter or darker than what is around them."""

HUNTED = tuple(
    Wanted("tissue", diameter, contrast, share=True)
    for diameter in (3.0, 4.0, 5.0, 6.0, 8.0, 10.0) for contrast in (-0.15, 0.15, -0.3, 0.3)
)
"""Those that limits of detection are measured with."""

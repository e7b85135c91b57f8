"""Where in PET images known lesions can lie, and which ones are tried. No torch here."""

from __future__ import annotations

from ..contract import Tissue, Wanted

TISSUES = (Tissue("tissue", 0.04, 0.4, 0.04),)
"""Even parts between fat and liver, in network units."""

LESIONS = tuple(
    Wanted("tissue", diameter, contrast, share=True) for diameter in (22.0, 13.0) for contrast in (2.0, 1.0)
)
"""Those of an evaluation: three and two times as much uptake as around them."""

HUNTED = tuple(
    Wanted("tissue", diameter, contrast, share=True)
    for diameter in (8.0, 10.0, 13.0, 17.0, 22.0) for contrast in (0.5, 1.0, 2.0, 4.0)
)
"""Those that limits of detection are measured with."""

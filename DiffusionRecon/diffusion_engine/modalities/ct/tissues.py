"""Where in CT images known lesions can lie, and which ones are tried. No torch here.

Tissues are windows of HU, named after the organ that most of such voxels belong to in venous contrast: without contrast
medium a liver lies in the window of muscle, and spleen and vessels lie in those of liver and kidney.
"""

from __future__ import annotations

from ..contract import Tissue, Wanted

TISSUES = (
    Tissue("lung", -920.0, -650.0, 45.0),
    Tissue("soft", 20.0, 250.0, 14.0),
    Tissue("liver", 80.0, 140.0, 14.0),
    Tissue("kidney", 140.0, 260.0, 22.0),
    Tissue("muscle", 25.0, 80.0, 14.0),
    Tissue("bone", 260.0, 900.0, 150.0),
)

LESIONS = tuple(
    Wanted(tissue, diameter, contrast)
    for tissue in ("soft", "lung") for diameter in (15.0, 8.0) for contrast in (60.0, -50.0)
)
"""Those of an evaluation."""

HUNTED = tuple(
    Wanted(tissue, diameter, contrast)
    for tissue in ("liver", "kidney", "muscle", "lung", "bone")
    for diameter in (4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0) for contrast in (-50.0, 40.0, 60.0, 100.0)
)
"""Those that limits of detection are measured with."""

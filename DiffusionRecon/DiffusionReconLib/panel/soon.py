"""What the end of a run needs, imported one file at a turn while the engine works: at once it would hold Slicer up."""

from __future__ import annotations

import importlib

MODULES = (
    "DiffusionReconLib.scene.publish", "DiffusionReconLib.scene.display", "DiffusionReconLib.scene.results",
    "diffusion_engine.posterior.findings", "DiffusionReconLib.review.findings", "DiffusionReconLib.review.table",
    "DiffusionReconLib.review.banner", "DiffusionReconLib.scene.comparison",
)


class Soon:
    """Imports the next of `MODULES` at each call of `step`."""

    def __init__(self) -> None:
        self._left = list(MODULES)

    def step(self) -> None:
        """One more; nothing once all are there."""
        if self._left:
            importlib.import_module(self._left.pop(0))

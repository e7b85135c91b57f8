"""Makes the pictures of MRI in the panel in Resources/Screenshots from real runs: `python3 Testing/screenshots_mri.py`.

The synthetic head and its k-space, the real engine in its own process, Slicer's scene and views; the widgets are the
stand-in's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from screenshots import Session, choose, inApplication, takeResult

SHAPE, SPACING_MM = (3, 160, 160), (5.0, 1.4, 1.4)
SECTIONS = ("inputs", "method")


def addHead() -> tuple[Any, Any]:
    """The synthetic head in the scene."""
    import slicer.util
    from diffusion_engine.phantoms.brain import synthetic_brain
    from DiffusionReconLib.scene.volumes import nodeFromVolume

    node = nodeFromVolume(synthetic_brain(SHAPE, SPACING_MM, seed=0)[0], "Head")
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, foreground=None)
    return node, None


def writeKSpace(folder: Path) -> Path:
    """Three times accelerated k-space of the head as a plain array (coils, rows, columns), of which nothing is said."""
    import numpy as np
    from diffusion_engine.modalities.mri.entry import simulate
    from diffusion_engine.phantoms.brain import synthetic_brain
    from diffusion_engine.run.settings import Settings

    head = synthetic_brain(SHAPE, SPACING_MM, seed=0)[0].crop(slices=(1, 2))
    kspace, _reference, _facts = simulate(head, Settings(modality="mri", acceleration=3.0))
    path = folder / "head.npy"
    np.save(path, kspace.values[0])
    return path


def takeFile(session: Session, folder: Path) -> None:
    """What the panel asks of a file that does not say it, answered."""
    ui = session.ui
    choose(ui.sourceComboBox, "Measured data")
    choose(ui.modalityComboBox, "MRI")
    ui.kspacePathEdit.currentPath = str(writeKSpace(folder))
    choose(ui.axisOrderComboBox, "coil, row, column")
    choose(ui.measuredSamplesComboBox, "Those that are not zero")
    ui.pixelSpinBox.value = SPACING_MM[1]
    assert ui.applyButton.enabled, ui.measuredSummaryLabel.text
    session.sections(*SECTIONS)
    session.views.fit()
    session.top(ui.purposeLabel)
    session.save("mri-kspace")


def takeScan(session: Session) -> None:
    """The result of a simulated acquisition with its uncertainty and the regions found."""
    ui = session.ui
    choose(ui.sourceComboBox, "Simulate a scan of a volume")
    choose(ui.modalityComboBox, "MRI")
    choose(ui.acquisitionPresetComboBox, "4-fold, random lines")
    takeResult(session, "mri-result")


def take(application: Any, folder: Path) -> None:
    """Both pictures."""
    session = Session(application, None, "light", [100], addHead)
    session.names = ("mri-kspace", "mri-result")
    takeFile(session, folder)
    takeScan(session)


if __name__ == "__main__":
    inApplication(take)

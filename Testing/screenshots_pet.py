"""Makes the pictures of PET in the panel in Resources/Screenshots from real runs: `python3 Testing/screenshots_pet.py`.

The synthetic torso with FDG and its CT, headers of a series that was made for it, the real engine in its own process,
Slicer's scene and views; the widgets are the stand-in's.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from screenshots import Session, choose, inApplication, takeResult

SHAPE, SPACING_MM = (3, 112, 112), (5.0, 4.5, 4.5)
SECTIONS = ("inputs", "method")


def addTorso() -> tuple[Any, Any]:
    """The synthetic torso in the scene, its PET and its CT."""
    import slicer.util
    from diffusion_engine.phantoms.torso import synthetic_torso
    from DiffusionReconLib.scene.display import displayImage
    from DiffusionReconLib.scene.volumes import nodeFromVolume

    torso = synthetic_torso(SHAPE, SPACING_MM, seed=0, unit="Bq/mL")
    node = nodeFromVolume(torso.activity, "Torso PET")
    displayImage(node, "pet")
    displayImage(nodeFromVolume(torso.hu, "Torso CT"), "ct")
    slicer.util.setSliceViewerLayers(background=node, foreground=None)
    return node, None


def useSeries(node: Any, folder: Path) -> None:
    """Let Slicer's database know a PET series without weight for a volume."""
    from gui.pet_inputs import inDatabase, writeSeries

    patch = SimpleNamespace(setattr=lambda place, name, value, raising: setattr(place, name, value))
    inDatabase(patch, node, writeSeries(folder / "series", PatientWeight=None))


def takeSUV(session: Session, folder: Path) -> None:
    """Factors with their reasons, after the weight that the headers lack was entered."""
    ui = session.ui
    useSeries(session.node, folder)
    ui.suvCollapsibleButton.collapsed = False
    ui.suvFactorsButton.click()
    ui.suvWeightSpinBox.value = 72.0
    session.sections("inputs")
    session.views.fit()
    session.top(ui.suvCollapsibleButton)
    session.save("pet-suv")


def takeScan(session: Session) -> None:
    """The result of a simulated low-count scan in SUV, attenuated by the CT, and the regions found."""
    import slicer.util

    ui = session.ui
    ui.suvVolumeButton.click()
    ui.suvCollapsibleButton.collapsed = True
    ui.attenuationSelector.setCurrentNode(slicer.util.getNode("Torso CT"))
    choose(ui.acquisitionPresetComboBox, "A tenth of the counts")
    takeResult(session, "pet-result")


def take(application: Any, folder: Path) -> None:
    """Both pictures."""
    session = Session(application, None, "light", [100], addTorso)
    session.names = ("pet-suv", "pet-result")
    takeSUV(session, folder)
    takeScan(session)


if __name__ == "__main__":
    inApplication(take)

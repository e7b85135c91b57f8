"""Makes the pictures of PET in the panel in Resources/Screenshots from real runs: `python3 Testing/screenshots_pet.py`.

The synthetic torso with FDG and its CT, headers of a series that was made for it, the real engine in its own process,
Slicer's scene and views; the widgets are the stand-in's.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from screenshots import Session

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


def choose(combo: Any, title: str) -> None:
    """An entry of a combo box by its title."""
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


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


def takeResult(session: Session) -> None:
    """The result of a simulated low-count scan in SUV, attenuated by the CT, and the regions found."""
    import slicer.util

    ui, run = session.ui, session.panel.widget.panel.run
    ui.suvVolumeButton.click()
    ui.suvCollapsibleButton.collapsed = True
    ui.attenuationSelector.setCurrentNode(slicer.util.getNode("Torso CT"))
    choose(ui.acquisitionPresetComboBox, "A tenth of the counts")
    choose(ui.deviceComboBox, "CPU")
    ui.sliceCountSpinBox.value = 1
    ui.applyButton.click()
    session.until(lambda: not run.busy, "the end of the run")
    if ui.statusLabel.text != "Done.":
        raise RuntimeError(ui.statusLabel.text)
    ui.uncertaintyButton.click()
    ui.findButton.click()
    ui.nextButton.click()
    session.views.fit()
    session.sections("review")
    session.top(ui.reviewCollapsibleButton)
    session.save("pet-result")


def take(application: Any, folder: Path) -> None:
    """Both pictures."""
    session = Session(application, None, "light", [100], addTorso)
    session.names = ("pet-suv", "pet-result")
    takeSUV(session, folder)
    takeResult(session)


def main() -> int:
    """Take the pictures."""
    from host.eventloop import runInLoop
    from host.guiapplication import makeGuiApplication

    with tempfile.TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as temporary:
        application = makeGuiApplication(temporary)
        try:
            runInLoop(partial(take, application, Path(temporary)))
        finally:
            application.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

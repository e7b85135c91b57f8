"""Makes the pictures of the panel in Resources/Screenshots from a real run: `python3 Testing/screenshots.py`.

The synthetic chest, the real engine in its own process, Slicer's scene and views; the widgets are the stand-in's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "DiffusionRecon"), str(ROOT / "Testing"), str(ROOT / "Testing" / "gui")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

SHAPE, SPACING_MM = (28, 144, 192), (8.0, 1.9, 1.9)
SLICES, VIEWS = 3, 20
SIZE = (1120, 820)
SECONDS = 900.0
SEGMENTS = {"lungs": "Lungs", "bone": "Bone", "nodules": "Nodules"}
COMPARED = ("Reference", "Total variation", "Diffusion, mean")


class Session:
    """A window of the stand-in with panel, chest and views, of which pictures are taken."""

    def __init__(self, application: Any, folder: Path) -> None:
        from host.window import arrange

        self.application, self.folder = application, folder
        self.panel = application.openPanel(ROOT / "DiffusionRecon" / "DiffusionRecon.py")
        self.ui = self.panel.widget.ui
        self.views = application.app.layoutManager().fourViews()
        self.node, self.segmentation = addPatient()
        self.window = arrange(application, self.panel, *SIZE)
        self.splitter = self.window.centralWidget()
        self.splitter.setSizes([430, SIZE[0] - 430])
        self.compared: list[Any] = []
        self.settle()

    def settle(self) -> None:
        """Let sizes and views follow."""
        from host.eventloop import turn
        from host.window import renderViews

        for _ in range(3):
            turn()
        renderViews(self.application)
        turn()

    def sections(self, *opened: str) -> None:
        """Open these sections and fold the others."""
        for name in ("inputs", "method", "outputs", "advanced", "review"):
            getattr(self.ui, f"{name}CollapsibleButton").collapsed = name not in opened
        self.settle()

    def top(self, widget: Any) -> None:
        """Scroll the panel so that a widget is uppermost."""
        from PySide6 import QtCore

        self.settle()
        scroll = self.splitter.widget(0)
        place = widget.mapTo(self.panel.container, QtCore.QPoint(0, 0)).y()
        scroll.verticalScrollBar().setValue(max(0, place - 4))
        self.settle()

    def save(self, name: str) -> None:
        """Write the window as a PNG with few colours, which keeps it small."""
        from host.window import grab
        from PIL import Image

        path = grab(self.window, self.folder / name, *SIZE)
        with Image.open(path) as picture:
            few = picture.convert("RGB").quantize(160, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{name}: {path.stat().st_size / 1000:.0f} kB", flush=True)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something."""
        from host.eventloop import waitUntil

        waitUntil(condition, SECONDS, what)


def addPatient() -> tuple[Any, Any]:
    """The synthetic chest and some of its parts as segments."""
    import slicer
    import slicer.util
    from diffusion_engine.phantoms.chest import synthetic_chest
    from DiffusionReconLib.scene.volumes import nodeFromVolume

    volume, masks = synthetic_chest(SHAPE, SPACING_MM, seed=0)
    node = nodeFromVolume(volume, "Chest")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(1400.0, -300.0)
    colours = {"lungs": (0.45, 0.75, 0.95), "bone": (0.95, 0.93, 0.8), "nodules": (1.0, 0.45, 0.25)}
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Chest parts")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    for name, title in SEGMENTS.items():
        identifier = segmentation.GetSegmentation().AddEmptySegment(title, title, colours[name])
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            (masks[name] > 0).astype("uint8"), segmentation, identifier, node)
    segmentation.CreateClosedSurfaceRepresentation()
    display = segmentation.GetDisplayNode()
    display.SetVisibility2D(False)
    display.SetSegmentOpacity3D("Lungs", 0.5)
    return node, segmentation


def setUp(session: Session) -> None:
    """What a user chooses before Apply."""
    import slicer.util

    ui = session.ui
    slicer.util.setSliceViewerLayers(background=session.node, foreground=None)
    ui.acquisitionPresetComboBox.currentIndex = ui.acquisitionPresetComboBox.findText("Sparse view, 20")
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findText("CPU")
    ui.sliceCountSpinBox.value = SLICES
    ui.segmentationSelector.setCurrentNode(session.segmentation)
    assert ui.viewsSpinBox.value == VIEWS
    session.settle()
    session.views.fit()


def takeAll(session: Session) -> None:
    """Idle, running, result, review, compare."""
    ui, run = session.ui, session.panel.widget.panel.run
    setUp(session)
    session.sections("inputs", "method", "outputs")
    session.top(ui.inputsCollapsibleButton)
    session.save("panel-idle.png")
    session.sections("method", "outputs", "advanced")
    ui.applyButton.click()
    session.until(lambda: "raw " in ui.statusLabel.text or not run.busy, "the first draw")
    session.until(lambda: ui.progressBar.value > 45 or not run.busy, "half of the run")
    session.top(ui.methodCollapsibleButton)
    session.save("panel-running.png")
    session.until(lambda: not run.busy, "the end of the run")
    if ui.statusLabel.text != "Done.":
        raise RuntimeError(ui.statusLabel.text)
    session.sections("review")
    ui.uncertaintyButton.click()
    session.views.fit()
    session.top(ui.applyButton)
    session.save("result.png")
    ui.findButton.click()
    ui.nextButton.click()
    ui.commentEdit.text = "seen in one draw only"
    ui.doubtButton.click()
    ui.nextButton.click()
    session.top(ui.reviewCollapsibleButton)
    session.save("panel-review.png")
    compare(session)
    session.top(ui.applyButton)
    session.save("compare.png")


def compare(session: Session) -> None:
    """The layout that Compare asks Slicer for, with the stand-in's views in it."""
    import slicer
    import slicer.util
    from host import views
    from host.viewwidgets import qMRMLSliceWidget
    from PySide6 import QtWidgets

    ui, application = session.ui, session.application.application
    ui.compareButton.click()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):  # outlines of findings hide what is compared
        node.GetDisplayNode().SetVisibility(False)
    colours = ((0.43, 0.69, 0.29), (0.93, 0.84, 0.30), (0.95, 0.29, 0.20))
    grid = QtWidgets.QWidget()
    column = QtWidgets.QVBoxLayout(grid)
    column.setContentsMargins(0, 0, 0, 0)
    shown = []
    for number, (title, colour) in enumerate(zip(COMPARED, colours, strict=True), 1):
        name = f"DiffusionCompare{number}"
        views.SLICE_VIEWS[name] = ("Axial", title, colour)
        view = views.SliceView(application, name, 256)  # small views, small letters
        view._title = (title, colour)
        shown.append((view, qMRMLSliceWidget(view)))
        column.addWidget(shown[-1][1])
    session.splitter.widget(1).hide()
    session.splitter.addWidget(grid)
    session.splitter.setSizes([430, 0, SIZE[0] - 430])
    ui.compareButton.click()
    ui.compareButton.click()
    session.settle()
    for view, widget in shown:
        widget.sliceView().forceRender()
        view.fit()
        widget.sliceView().forceRender()
    session.compared = shown


def main() -> int:
    """Take the pictures."""
    from host.eventloop import runInLoop
    from host.guiapplication import makeGuiApplication

    folder = ROOT / "Resources" / "Screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as temporary:
        application = makeGuiApplication(temporary)
        try:
            runInLoop(lambda: takeAll(Session(application, folder)))
        finally:
            application.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

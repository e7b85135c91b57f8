"""Makes the pictures of the panel in Resources/Screenshots from a real run: `python3 Testing/screenshots.py`.

The synthetic chest, the real engine in its own process, Slicer's scene and views; the widgets are the stand-in's. With
`--out FOLDER --styles light dark --scales 100 200` every step is taken in every look, to be judged, not to be kept; a
style is a run of its own, as Slicer takes another one at its start.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "DiffusionRecon"), str(ROOT / "Testing"), str(ROOT / "Testing" / "gui")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

SHAPE, SPACING_MM = (28, 144, 192), (8.0, 1.9, 1.9)
SLICES, VIEWS = 3, 20
SIZE, PANEL_WIDTH = (1280, 800), 373
SECONDS = 900.0
STYLES = ("light", "dark")
KEPT = ("panel-idle", "panel-running", "result", "panel-review", "compare")
"""The pictures of the documents; the others are taken into a folder of one's own alone."""
DARK = {"Window": "#2b2b2b", "WindowText": "#e6e6e6", "Base": "#1f1f1f", "AlternateBase": "#2b2b2b", "Text": "#e6e6e6",
        "Button": "#3a3a3a", "ButtonText": "#e6e6e6", "ToolTipBase": "#3a3a3a", "ToolTipText": "#e6e6e6",
        "Highlight": "#3d6fa5", "HighlightedText": "#ffffff", "PlaceholderText": "#9a9a9a"}
SEGMENTS = {"lungs": "Lungs", "bone": "Bone", "nodules": "Nodules"}
COMPARED = "DiffusionCompare"


class Session:
    """A window of the stand-in with panel, the patient that `add` puts into the scene, and views, to take pictures."""

    def __init__(
        self, application: Any, folder: Path | None, style: str, scales: list[int], add: Callable[[], tuple[Any, Any]],
    ) -> None:
        from host.window import arrange

        usePalette(style)
        self.application, self.style, self.scales = application, style, scales
        self.names = KEPT if folder is None else ()
        self.folder = folder or ROOT / "Resources" / "Screenshots"
        self.panel = application.openPanel(ROOT / "DiffusionRecon" / "DiffusionRecon.py")
        self.ui = self.panel.widget.ui
        self.views = application.app.layoutManager().fourViews()
        self.node, self.segmentation = add()
        self.window = arrange(application, self.panel, *SIZE)
        self.splitter = self.window.centralWidget()
        self.splitter.widget(0).setMinimumWidth(PANEL_WIDTH)
        self.splitter.setSizes([PANEL_WIDTH, SIZE[0] - PANEL_WIDTH])
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
        for name in ("inputs", "method", "advanced", "review", "train"):
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
        """Write the window in every wanted scale; what is kept gets few colours, which makes it small."""
        if self.names and name not in self.names:
            return
        for scale in self.scales:
            look = ("" if self.style == STYLES[0] else f"-{self.style}") + (f"-{scale}" if scale != 100 else "")
            self._write(self.folder / f"{name}{look}.png", scale / 100)

    def _write(self, path: Path, scale: float) -> None:
        from host.window import grab
        from PIL import Image

        grab(self.window, path, *SIZE, scale=scale)
        if self.names:
            with Image.open(path) as picture:
                few = picture.convert("RGB").quantize(
                    256, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
            few.save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something."""
        from host.eventloop import waitUntil

        waitUntil(condition, SECONDS, what)


def usePalette(style: str) -> None:
    """The light palette of the stand-in's style, or a dark one."""
    from PySide6 import QtGui, QtWidgets

    palette = QtWidgets.QApplication.style().standardPalette()
    if style == "dark":
        for role, colour in DARK.items():
            palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(colour))
        for role in ("Text", "WindowText", "ButtonText"):
            palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), QtGui.QColor("#8a8a8a"))
    QtWidgets.QApplication.setPalette(palette)


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
    """Idle, running, result, the tabs of the review, compare."""
    ui, run = session.ui, session.panel.widget.panel.run
    setUp(session)
    session.sections("inputs", "method")
    session.top(ui.purposeLabel)
    session.save("panel-idle")
    ui.applyButton.click()
    session.until(lambda: " 1 of " in ui.statusLabel.text or not run.busy, "the first sample")
    session.until(lambda: ui.progressBar.value > 45 or not run.busy, "half of the run")
    session.save("panel-running")
    session.until(lambda: not run.busy, "the end of the run")
    if ui.statusLabel.text != "Done.":
        raise RuntimeError(ui.statusLabel.text)
    session.settle()
    ui.uncertaintyButton.click()
    session.views.fit()
    session.sections("review")
    session.top(ui.purposeLabel)
    session.save("result")
    session.sections("advanced", "train")
    session.top(ui.advancedCollapsibleButton)
    session.save("advanced")
    session.sections("review")
    session.top(ui.reviewCollapsibleButton)
    for tab in tabs(session):
        if "findButton" in tab or not tab:
            ui.findButton.click()
            ui.nextButton.click()
            ui.commentEdit.text = "seen in one sample only"
            ui.doubtButton.click()
            ui.nextButton.click()
        session.top(ui.reviewCollapsibleButton)
        session.save("panel-review" if "findButton" in tab or not tab else f"review-{tab[0]}")
    ui.reviewTabs.setCurrentIndex(0)
    compare(session)
    session.top(ui.purposeLabel)
    session.save("compare")


def tabs(session: Session) -> Iterator[list[str]]:
    """Opens one tab of the review after the other, and gives its title and the names of its buttons."""
    from PySide6 import QtWidgets

    found = session.ui.reviewCollapsibleButton.findChildren(QtWidgets.QTabWidget)
    if not found:
        yield []
    for index in range(found[0].count if found else 0):
        found[0].setCurrentIndex(index)
        session.settle()
        buttons = found[0].widget(index).findChildren(QtWidgets.QPushButton)
        yield [found[0].tabText(index).lower(), *(button.objectName for button in buttons)]


def compare(session: Session) -> None:
    """The views of the layout that Compare asks Slicer for, side by side."""
    import slicer.util
    from PySide6 import QtWidgets

    manager = session.application.app.layoutManager()
    session.ui.compareButton.click()
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):  # outlines of findings hide what is compared
        node.GetDisplayNode().SetVisibility(False)
    session.settle()
    grid = QtWidgets.QWidget()
    row = QtWidgets.QHBoxLayout(grid)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(2)
    for name in manager.sliceViewNames():
        if name.startswith(COMPARED):
            row.addWidget(manager.sliceWidget(name))
    session.splitter.widget(1).hide()
    session.splitter.addWidget(grid)
    session.splitter.setSizes([PANEL_WIDTH, 0, SIZE[0] - PANEL_WIDTH])
    session.settle()
    manager.resetSliceViews()
    session.settle()


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder of one's own (default: the pictures of the documents)")
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=["light"])
    parser.add_argument("--scales", nargs="+", type=int, choices=(100, 200), default=[100], help="percent")
    chosen = parser.parse_args(arguments)
    if chosen.out is None and (chosen.styles, chosen.scales) != (["light"], [100]):
        parser.error("other looks need a folder of their own: give --out")
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
    for style in chosen.styles:
        inApplication(partial(take, chosen.out, style, chosen.scales))
    return 0


def inApplication(work: Callable[[Any, Path], None]) -> None:
    """Work with an application and a folder, neither of which is left afterwards."""
    from host.eventloop import runInLoop
    from host.guiapplication import makeGuiApplication

    with tempfile.TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as temporary:
        application = makeGuiApplication(temporary)
        try:
            runInLoop(partial(work, application, Path(temporary)))
        finally:
            application.close()


def take(folder: Path | None, style: str, scales: list[int], application: Any, _temporary: Path) -> None:
    """All pictures of a style."""
    takeAll(Session(application, folder, style, scales, addPatient))


def choose(combo: Any, title: str) -> None:
    """An entry of a combo box by its title."""
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


def takeResult(session: Session, name: str) -> None:
    """The result of a slice of what is chosen, with its uncertainty and the regions found, on the processor."""
    ui, run = session.ui, session.panel.widget.panel.run
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
    session.save(name)


if __name__ == "__main__":
    sys.exit(main())

"""The stand-in for the application: slicer.app, views, dialogs, packages, a module with a .ui file of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from host import dialogs, packages, qtmodules, signals
from host.eventloop import turn, waitUntil
from host.guiapplication import GuiApplication, Panel

SELECTOR = """
  <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="inputSelector">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="addEnabled"><bool>false</bool></property>
   <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
  </widget></item>
"""
UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Small</class><widget class="qMRMLWidget" name="Small">
 <layout class="QVBoxLayout"><item><widget class="ctkCollapsibleButton" name="section">
  <property name="text"><string>Inputs</string></property>
  <layout class="QFormLayout">{content}</layout>
 </widget></item></layout></widget>
<customwidgets>
 <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
 <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
 <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
</customwidgets>
<connections><connection>
 <sender>Small</sender><signal>{signal}</signal>
 <receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
</connection></connections></ui>
"""
MODULE = '''
import slicer
from slicer.ScriptedLoadableModule import *

class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Small module"

class SmallWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        super().setup()
        ui = slicer.util.loadUI(self.resourcePath("UI/Small.ui"))
        self.layout.addWidget(ui)
        self.ui = slicer.util.childWidgetVariables(ui)
        ui.setMRMLScene(slicer.mrmlScene)
        self.events = []

    def enter(self):
        self.events.append("enter")

    def exit(self):
        self.events.append("exit")

    def cleanup(self):
        self.events.append("cleanup")
'''
MESSAGE = "mrmlSceneChanged(vtkMRMLScene*)"


@pytest.fixture
def smallModule(tmp_path: Path) -> Callable[..., Path]:
    """Writes a module with a .ui file, whose parts can be replaced."""

    def write(content: str = SELECTOR, signal: str = MESSAGE) -> Path:
        resources = tmp_path / "Small" / "Resources" / "UI"
        resources.mkdir(parents=True, exist_ok=True)
        (resources / "Small.ui").write_text(UI.format(content=content, signal=signal), encoding="utf-8")
        path = tmp_path / "Small" / "Small.py"
        path.write_text(MODULE, encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def forgetSmallModule() -> Iterator[None]:
    """Each test imports its own file."""
    import sys

    yield
    sys.modules.pop("Small", None)
    sys.path[:] = [place for place in sys.path if Path(place).name != "Small"]


def test_standInModuleOfItsOwn(
    application: GuiApplication, openPanel: Callable[..., Panel], smallModule: Callable[..., Path]
) -> None:
    panel = openPanel(smallModule())
    volume = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    selector = panel.widget.ui.inputSelector
    assert selector.currentNode() is volume
    assert selector.SlicerParameterName == "inputVolume"
    application.mainWindow.moduleSelector().selectModule("Small")
    assert slicer.util.selectedModule() == "Small"
    assert slicer.util.getModuleWidget("Small") is panel.widget
    application.mainWindow.moduleSelector().selectModule("Other")
    application.close()
    assert panel.widget.events == ["enter", "exit", "cleanup"]


@pytest.mark.parametrize(("content", "signal", "words"), [
    (SELECTOR.replace("addEnabled", "adEnabled"), MESSAGE, "found adEnabled on inputSelector"),
    (SELECTOR.replace("qMRMLNodeComboBox", "qMRMLOtherBox"), MESSAGE, "inputSelector to be a qMRMLOtherBox"),
    (SELECTOR, "sceneChanged(vtkMRMLScene*)", "signal 'sceneChanged"),
])  # fmt: skip
def test_standInRefusesMistakesInAUiFile(
    application: GuiApplication, openPanel: Callable[..., Panel], smallModule: Callable[..., Path],
    content: str, signal: str, words: str,
) -> None:  # fmt: skip
    with pytest.raises((ValueError, RuntimeError), match=words):
        openPanel(smallModule(content, signal))


def test_standInSettingsAndPaths(application: GuiApplication, tmp_path: Path) -> None:
    slicer.app.settings().setValue("Some/Key", 3)
    assert slicer.util.settingsValue("Some/Key", 0, int, slicer.app.settings()) == 3
    assert Path(slicer.app.temporaryPath).parent == tmp_path
    assert slicer.app.settings().fileName().startswith(slicer.app.temporaryPath)
    qt.QSettings("Organisation", "Program").setValue("a", 1)
    with pytest.raises(AttributeError, match="does not exist"):
        slicer.app.foo = 1


def test_standInSceneCloseIsHeard(application: GuiApplication) -> None:
    got = []
    scene = application.scene
    for name in ("StartCloseEvent", "EndCloseEvent"):
        scene.AddObserver(getattr(scene, name), lambda *_, name=name: got.append(name))
    scene.Clear()
    assert got == ["StartCloseEvent", "EndCloseEvent"]


def test_standInViewsShowAVolume(application: GuiApplication) -> None:
    array = np.zeros((4, 16, 16), np.int16)
    array[:, 4:12, 4:12] = 1000
    node = slicer.util.addVolumeFromArray(array, name="square")
    node.CreateDefaultDisplayNodes()
    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = manager.sliceWidget("Red")
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    red.resize(160, 120)
    red.show()
    turn()
    red.sliceView().forceRender()
    manager.resetSliceViews()
    picture = red.sliceView().image()
    assert picture.shape == (120, 160, 3)
    assert picture[60, 80].min() > 200  # the square's middle
    assert picture[60, 40].max() < 50
    slicer.util.forceRenderAllViews()


def test_standInViewRendersWhenAskedTo(application: GuiApplication) -> None:
    node = slicer.util.addVolumeFromArray(np.full((4, 16, 16), 50, np.int16), name="plain")
    node.CreateDefaultDisplayNodes()
    slicer.app.layoutManager()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    widget = slicer.app.layoutManager().sliceWidget("Red")
    view = widget.sliceView()
    widget.show()
    waitUntil(lambda: view._image is not None)
    before = view._image
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(1000, 400)
    waitUntil(lambda: view._image is not before, what="a picture after the display changed")


def test_standInMessagesAreRecorded(application: GuiApplication, recordedDialogs: dialogs.Recorder) -> None:
    slicer.util.infoDisplay("Finished")
    slicer.util.errorDisplay("Failed", detailedText="why")
    recordedDialogs.answer("Yes", "No", "Cancel")
    assert slicer.util.confirmYesNoDisplay("Install?")
    assert not slicer.util.confirmYesNoDisplay("Again?")
    assert not slicer.util.confirmOkCancelDisplay("Sure?")
    slicer.util.delayDisplay("A moment", 500)
    assert recordedDialogs.texts() == ["Finished", "Failed", "Install?", "Again?", "Sure?", "A moment"]
    assert recordedDialogs.shown[1].details == "why"
    assert set(recordedDialogs.shown[2].buttons) == {"Yes", "No"}


def test_standInErrorDisplayOfAnException(application: GuiApplication, recordedDialogs: dialogs.Recorder) -> None:
    with pytest.raises(ValueError, match="bad"), slicer.util.tryWithErrorDisplay("It failed.", waitCursor=True):
        raise ValueError("bad")
    assert recordedDialogs.texts() == ["It failed.\n\nbad"]
    assert "Traceback" in recordedDialogs.shown[0].details


def test_standInQuestionWithoutAnswerFails(application: GuiApplication) -> None:
    with pytest.raises(AssertionError, match="queued answer"):
        slicer.util.confirmYesNoDisplay("Install?")


def test_standInFilesAndInputs(recordedDialogs: dialogs.Recorder) -> None:
    recordedDialogs.answer("/a.nrrd", "", ["/a", "/b"], "text")
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nrrd") == "/a.nrrd"
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == ""
    assert qt.QFileDialog.getOpenFileNames(None, "Several") == ("/a", "/b")
    assert qt.QInputDialog.getText(None, "Title", "Comment:") == "text"
    assert recordedDialogs.texts() == ["Open", "Folder", "Several", "Comment:"]


def test_standInDialogOfOnesOwn(recordedDialogs: dialogs.Recorder) -> None:
    def operate(dialog: Any) -> int:
        dialog.findChild("QPushButton").click()
        return dialog.result()

    dialog = qt.QDialog()
    layout = qt.QVBoxLayout(dialog)
    layout.addWidget(qt.QLabel("Verdict"))
    button = qt.QPushButton("Keep")
    button.connect("clicked()", dialog.accept)
    layout.addWidget(button)
    recordedDialogs.answer(operate)
    assert dialog.exec_() == 1
    assert recordedDialogs.texts() == ["Verdict"]


def fakePip(arguments: list[str]) -> Iterator[str]:
    """Plays an installation of one package."""
    yield "Collecting " + arguments[-1]
    packages.setFound("monai")
    yield "Successfully installed"


def brokenPip(_arguments: list[str]) -> Iterator[str]:
    """Plays an installation without network."""
    yield "Collecting"
    raise OSError("Network is unreachable")


def test_standInInstallsThroughTheGivenInstaller(
    application: GuiApplication, recordedDialogs: dialogs.Recorder
) -> None:
    packages.setInstaller(fakePip, missing=("monai",))
    assert slicer.packaging.pip_check("numpy>=1.20")
    assert not slicer.packaging.pip_check("numpy>=1.20 monai>=1.3")
    lines, codes = [], []
    slicer.packaging.pip_install("monai>=1.3", blocking=False, logCallback=lines.append, completedCallback=codes.append)
    assert slicer.packaging.isPipInstallInProgress()
    waitUntil(lambda: codes)
    assert (codes, lines) == ([0], ["Collecting monai>=1.3", "Successfully installed"])
    assert slicer.packaging.pip_check("monai>=1.3")
    assert not slicer.packaging.isPipInstallInProgress()
    slicer.packaging.pip_ensure("monai>=1.3")  # nothing to ask any more
    assert recordedDialogs.shown == []


def test_standInInstallationFails(application: GuiApplication, recordedDialogs: dialogs.Recorder) -> None:
    packages.setInstaller(brokenPip, missing=("monai",))
    with pytest.raises(subprocess.CalledProcessError):
        slicer.util.pip_install("monai", show_progress=False)
    recordedDialogs.answer("Cancel")
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(["monai"])
    packages.setInstaller(None)
    with pytest.raises(RuntimeError, match="No installer"):
        slicer.packaging.pip_install("monai")


def test_standInTimersAndDeletion() -> None:
    got = []
    qt.QTimer.singleShot(0, lambda: got.append("shot"))
    label = qt.QLabel("x")
    label.destroyed.connect(lambda *_: got.append("gone"))
    label.delete()
    waitUntil(lambda: "shot" in got)
    assert set(got) == {"shot", "gone"}
    with pytest.raises(AssertionError, match="within"):
        waitUntil(lambda: False, seconds=0.05)


def test_standInUnknownNames() -> None:
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = qt.QNothing
    assert "ctkSliderWidget" in qtmodules.uiClasses
    assert signals.slotErrors == []

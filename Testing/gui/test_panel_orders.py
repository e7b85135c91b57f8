"""In which order volume, module and scene come, on the stand-in: every order leads to a panel that can be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from host.application import saveBundle
from host.eventloop import turn
from host.guiapplication import GuiApplication
from host.pythonqt import plainToolTip
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner

SEGMENTATION, REGION, VOLUME = "vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode", "vtkMRMLScalarVolumeNode"
# Selector, parameter, how such a node is made, whether one is chosen without being asked for.
SELECTORS = {
    "input": ("inputSelector", "inputVolume", addChest, True),
    "region": ("regionSelector", "region", lambda: slicer.mrmlScene.AddNewNodeByClass(REGION, "box"), False),
    "segmentation": (
        "segmentationSelector", "segmentation", lambda: slicer.mrmlScene.AddNewNodeByClass(SEGMENTATION, "organs"),
        False),
}


@pytest.mark.parametrize("case", SELECTORS)
@pytest.mark.parametrize("moduleFirst", [False, True])
def test_standInEverySelectorInBothOrders(
    openPanel: OpenPanel, application: GuiApplication, moduleFirst: bool, case: str
) -> None:
    """A node from before the module opened is there to be chosen; an input is chosen at once, in either order."""
    selector, parameter, make, atOnce = SELECTORS[case]
    order: list[Callable[[], Any]] = [openPanel, make]
    made = [step() for step in (order if moduleFirst else reversed(order))]
    panel, node = made if moduleFirst else reversed(made)
    box, parameters = getattr(panel.widget.ui, selector), panel.widget.logic.getParameterNode()
    wanted = node if atOnce else None
    assert (box.currentNode(), getattr(parameters, parameter)) == (wanted, wanted)
    box.setCurrentNode(node)
    assert getattr(parameters, parameter) is node
    assert box.currentNode() is node


def test_standInVolumeBeforeModuleIsReadyToApply(openPanel: OpenPanel, tmp_path: Path) -> None:
    addChest()
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    panel.widget.enter()
    assert panel.widget.ui.applyButton.enabled, plainToolTip(panel.widget.ui.applyButton)


def test_standInFirstVolumeIsAnImageOfTheUsers(openPanel: OpenPanel, application: GuiApplication) -> None:
    """Labels, hidden nodes and what was reconstructed here are not the input."""
    scene = application.scene
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    scene.AddNewNodeByClass(VOLUME, "hidden").SetHideFromEditors(True)
    scene.AddNewNodeByClass(VOLUME, "mean").SetAttribute("DiffusionPriors.Result", "mean")
    chest = addChest()
    assert openPanel().widget.ui.inputSelector.currentNode() is chest


def test_standInModuleIsEnteredAgain(openPanel: OpenPanel, application: GuiApplication) -> None:
    """A volume that came while another module was open is chosen; a choice that was made stays."""
    panel = openPanel()
    selector = application.mainWindow.moduleSelector()
    selector.selectModule("DiffusionRecon")
    selector.selectModule("Other")
    first = addChest()
    panel.widget.logic.getParameterNode().inputVolume = None
    selector.selectModule("DiffusionRecon")
    assert panel.widget.ui.inputSelector.currentNode() is first
    second = addChest()
    panel.widget.ui.inputSelector.setCurrentNode(second)
    selector.selectModule("Other")
    selector.selectModule("DiffusionRecon")
    assert panel.widget.ui.inputSelector.currentNode() is second


def test_standInSceneClosed(openPanel: OpenPanel, application: GuiApplication, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    addChest()
    application.scene.Clear(0)
    ui = panel.widget.ui
    assert ui.inputSelector.currentNode() is None
    assert not ui.applyButton.enabled
    again = addChest()
    assert ui.inputSelector.currentNode() is again
    assert ui.applyButton.enabled


def test_standInSceneLoadedWithResultAndState(
    openPanel: OpenPanel, application: GuiApplication, tmp_path: Path
) -> None:
    """A scene saved after a run: the input that was chosen, the settings and the result are there again."""
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    addChest()
    wanted = addChest()
    wanted.SetName("Wanted")
    ui.inputSelector.setCurrentNode(wanted)
    ui.viewsSpinBox.value = 33
    ui.applyButton.click()
    idle(panel)
    title, banner = ui.resultComboBox.currentText, ui.bannerLabel.text
    path = saveBundle(application.scene, tmp_path / "scene.mrb")
    for again in (panel, None):  # into the open panel, then before another panel opens
        application.scene.Clear(0)
        assert application.scene.ReadFromMRB(str(path), True)
        ui = (again or openPanel()).widget.ui
        assert ui.inputSelector.currentNode().GetName() == "Wanted"
        assert ui.viewsSpinBox.value == 33
        assert (ui.resultComboBox.currentText, ui.bannerLabel.text) == (title, banner)
        assert ui.applyButton.enabled
        ui.uncertaintyButton.click()
        composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        assert all(layers.GetForegroundVolumeID() for layers in composite)


def test_standInTwoModulesInTurn(openPanel: OpenPanel, application: GuiApplication, tmp_path: Path) -> None:
    """Another module's panel, with a selector of its own, does not disturb this one's choices."""
    path = tmp_path / "Neighbour.py"
    path.write_text(
        "import slicer\n"
        "from slicer.ScriptedLoadableModule import *\n"
        "class Neighbour(ScriptedLoadableModule): pass\n"
        "class NeighbourWidget(ScriptedLoadableModuleWidget):\n"
        "    def setup(self):\n"
        "        super().setup()\n"
        "        self.selector = slicer.qMRMLNodeComboBox()\n"
        f"        self.selector.nodeTypes = ['{VOLUME}']\n"
        "        self.layout.addWidget(self.selector)\n"
        "        self.selector.setMRMLScene(slicer.mrmlScene)\n", encoding="utf-8")
    first, second = addChest(), addChest()
    own, other = openPanel(), openPanel(path)
    switch = application.mainWindow.moduleSelector().selectModule
    switch("DiffusionRecon")
    own.widget.ui.inputSelector.setCurrentNode(second)
    switch("Neighbour")
    assert other.widget.selector.currentNode() is first
    application.scene.RemoveNode(first)
    slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="third")
    switch("DiffusionRecon")
    turn()
    assert own.widget.ui.inputSelector.currentNode() is second
    assert own.widget.logic.getParameterNode().inputVolume is second

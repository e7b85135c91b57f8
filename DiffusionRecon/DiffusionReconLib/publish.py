"""A finished job folder becomes nodes: volumes beside the input, the uncertainty on top with its legend, provenance.

Everything is read and checked before the first node is made; if anything fails after that, what was made is removed
and the views show what they showed before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from diffusion_engine.io.images import read_volume
from diffusion_engine.jobs.job import read_result
from diffusion_engine.volume import Volume

from DiffusionReconLib.colours import uncertaintyColourNode
from DiffusionReconLib.volumes import nodeFromVolume, unitOfNode

ATTRIBUTE_PREFIX = "DiffusionPriors."
PROVENANCE_KEYS = ("modality", "method", "prior", "spread", "seed", "draws", "seconds")
INPUT_REFERENCE = "DiffusionPriors.Input"
# Window width and level in HU: shows lung, fat and soft tissue at once (a lung window; bone saturates).
CT_WINDOW_LEVEL = (1400.0, -300.0)
UNCERTAINTY_OPACITY = 0.45
# The overlay's window ends at this percentile of the spread inside it; below this share of the window it is hidden.
WINDOW_PERCENTILE = 99.5
HIDDEN_SHARE = 0.2
RESULT_NAMES = {"mean": "diffusion mean", "fbp": "FBP", "tv": "TV", "reference": "reference"}
SPREAD_NAMES = {"posterior": "posterior standard deviation", "concentrated": "spread of estimates"}
LEGEND_TITLES = {"posterior": "Std. dev.\n{unit}", "concentrated": "Spread\n{unit}"}


@dataclass(frozen=True)
class _Contents:
    report: dict
    volumes: dict[str, Volume]


def publishResult(
    jobFolder: str | Path,
    inputNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    withDraws: bool = False,
) -> dict[str, slicer.vtkMRMLNode]:
    """Add a job folder's result to the scene and show it; returns the nodes by their key, plus "report" (a text node).

    The nodes lie in a subject-hierarchy folder beside `inputNode`, in its unit and under its parent transform; the
    mean is the background of the slice views and the uncertainty the foreground. Single draws only `withDraws`.
    Raises ValueError or RuntimeError in one sentence, with the scene as it was.
    """
    contents = _readContents(Path(jobFolder), withDraws)
    report = contents.report
    baseName = inputNode.GetName() if inputNode is not None else report["modality"].upper()
    transformID = inputNode.GetTransformNodeID() if inputNode is not None else None
    with sceneKeptOnFailure():
        folder = _makeFolder(f"{baseName} diffusion reconstruction", inputNode)
        nodes: dict[str, slicer.vtkMRMLNode] = {}
        for key, volume in contents.volumes.items():
            node = nodeFromVolume(volume, f"{baseName} {resultName(key, report['spread'], volume.unit)}", transformID)
            nodes[key] = node
            _putIntoFolder(node, folder)
            _addProvenance(node, key, report, inputNode)
            if key == "uncertainty":
                _displayUncertainty(node, volume)
            else:
                _displayImage(node)
        nodes["report"] = _addReport(f"{baseName} reconstruction report", report, folder)
        slicer.util.setSliceViewerLayers(
            background=nodes["mean"], foreground=nodes["uncertainty"], foregroundOpacity=UNCERTAINTY_OPACITY
        )
        # After the layers: the legend's manager looks at what a slice shows when the legend is made, not later.
        _addLegend(nodes["uncertainty"], report["spread"])
        if inputNode is None:  # measured data: nothing was on show at this place before
            slicer.app.applicationLogic().FitSliceToAll()
    return nodes


def resultName(key: str, spread: str, unit: str) -> str:
    """What a result is called: its uncertainty is a posterior standard deviation only where the report says so."""
    if key == "uncertainty":
        return f"{SPREAD_NAMES[spread]} ({unit})"
    if key.startswith("draw_"):
        return f"draw {key.removeprefix('draw_')}"
    return RESULT_NAMES.get(key, key)


def niceUpperLimit(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not under `value`; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value * (1 - 1e-9))


@contextmanager
def sceneKeptOnFailure() -> Iterator[None]:
    """If the block raises, remove the nodes and folders that it added and restore the slice views' layers."""
    scene = slicer.mrmlScene
    nodesBefore = {node.GetID() for node in _allNodes()}
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    itemsBefore = _allItems(hierarchy)
    layersBefore = [
        (
            layers,
            layers.GetBackgroundVolumeID(),
            layers.GetForegroundVolumeID(),
            layers.GetForegroundOpacity(),
        )
        for layers in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ]
    try:
        yield
    except BaseException:
        for layers, background, foreground, opacity in layersBefore:
            layers.SetBackgroundVolumeID(background)
            layers.SetForegroundVolumeID(foreground)
            layers.SetForegroundOpacity(opacity)
        # The last made first: display nodes before what they display would leave dangling references.
        for node in reversed([node for node in _allNodes() if node.GetID() not in nodesBefore]):
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)
        for item in _allItems(hierarchy) - itemsBefore:
            hierarchy.RemoveItem(item, False, False)
        raise


def _readContents(folder: Path, withDraws: bool) -> _Contents:
    report, paths = read_result(folder)
    for key in ("mean", "uncertainty"):
        if key not in paths:
            raise ValueError(f"The result in {folder} has no '{key}' volume among {sorted(paths)}: reconstruct again.")
    if report.get("spread") not in SPREAD_NAMES:
        raise ValueError(
            f"The result in {folder} says spread '{report.get('spread')}', expected one of {sorted(SPREAD_NAMES)}: "
            "it was made by another version; reconstruct again."
        )
    wanted = {key: path for key, path in paths.items() if withDraws or not key.startswith("draw_")}
    volumes = {key: read_volume(path) for key, path in wanted.items()}
    shapes = {key: volume.array.shape for key, volume in volumes.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"The volumes in {folder} differ in shape ({shapes}): reconstruct again.")
    return _Contents(report, volumes)


def _makeFolder(name: str, inputNode: slicer.vtkMRMLNode | None) -> int:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    inputItem = hierarchy.GetItemByDataNode(inputNode) if inputNode is not None else 0
    # Beside the input, so inside its DICOM study: modules that ask for the patient find one.
    parent = hierarchy.GetItemParent(inputItem) if inputItem else hierarchy.GetSceneItemID()
    return hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name))


def _putIntoFolder(node: slicer.vtkMRMLNode, folder: int) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
    hierarchy.SetItemParent(item, folder)


def _addProvenance(node: slicer.vtkMRMLNode, key: str, report: dict, inputNode: slicer.vtkMRMLNode | None) -> None:
    node.SetAttribute(ATTRIBUTE_PREFIX + "Result", key)
    for name in PROVENANCE_KEYS:
        if report.get(name) is not None:
            node.SetAttribute(ATTRIBUTE_PREFIX + name.capitalize(), str(report[name]))
    if inputNode is not None:
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())


def _addReport(name: str, report: dict, folder: int) -> slicer.vtkMRMLTextNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetText(json.dumps(report, indent=2, ensure_ascii=False))
    _putIntoFolder(node, folder)
    return node


def _displayImage(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    if unitOfNode(node) == "HU":
        display.SetWindowLevel(*CT_WINDOW_LEVEL)
    else:
        low, high = np.percentile(slicer.util.arrayFromVolume(node), (0.5, 99.5))
        display.SetWindowLevelMinMax(float(low), float(max(high, low + 1e-6)))


def _displayUncertainty(node: slicer.vtkMRMLScalarVolumeNode, volume: Volume) -> None:
    limit = niceUpperLimit(float(np.percentile(volume.array, WINDOW_PERCENTILE)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(uncertaintyColourNode().GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, limit)
    display.AutoThresholdOff()
    display.SetThreshold(HIDDEN_SHARE * limit, max(float(volume.array.max()), limit))
    display.ApplyThresholdOn()


def _addLegend(node: slicer.vtkMRMLScalarVolumeNode, spread: str) -> None:
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(LEGEND_TITLES[spread].format(unit=unitOfNode(node)))
    legend.SetLabelFormat("%.0f" if node.GetDisplayNode().GetWindow() >= 5 else "%.2g")
    legend.SetNumberOfLabels(6)
    legend.SetMaxNumberOfColors(256)
    # In the upper right corner, small: the default covers a quarter of a small view. A title that is wider than the
    # legend hides all of it, hence two short lines.
    legend.GetTitleTextProperty().SetFontSize(14)
    legend.GetLabelTextProperty().SetFontSize(12)
    legend.SetSize(0.1, 0.38)
    legend.SetPosition(0.95, 0.8)
    legend.SetVisibility(True)


def _allNodes() -> list[slicer.vtkMRMLNode]:
    nodes = slicer.mrmlScene.GetNodes()
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


def _allItems(hierarchy: slicer.vtkMRMLSubjectHierarchyNode) -> set[int]:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return {items.GetId(index) for index in range(items.GetNumberOfIds())}

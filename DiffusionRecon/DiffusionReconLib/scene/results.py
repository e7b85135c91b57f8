"""One call for each way to look at a result: mean, uncertainty, what was not seen, residual, samples, difference.

`nodes` is everywhere the dictionary that `publishResult` returns (nodes by key); `resultNodes(reportNode)` gives the
same one of a result in a reopened scene. A function that needs a volume which the result lacks raises ValueError.
"""

from __future__ import annotations

import json

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from DiffusionReconLib.scene.classical import classicalTitles, firstOf
from DiffusionReconLib.scene.display import OVERLAY_OPACITY, addLegend, displayOverlay, hideLegends, setThreshold
from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX, INPUT_REFERENCE, RESULT_REFERENCE
from DiffusionReconLib.scene.volumes import nodeFromVolume, volumeFromNode

Nodes = dict[str, slicer.vtkMRMLNode]
# Its zero is light grey: more would hide the image under it.
RESIDUAL_OPACITY = 0.5


def resultReports() -> list[slicer.vtkMRMLTextNode]:
    """The report nodes of all results in the scene, oldest first."""
    texts = slicer.util.getNodesByClass("vtkMRMLTextNode")
    return [node for node in texts if node.GetAttribute(ATTRIBUTE_PREFIX + "Report")]


def resultNodes(reportNode: slicer.vtkMRMLTextNode) -> Nodes:
    """The nodes of a result by key, as `publishResult` returned them; those removed since are left out."""
    roles: list[str] = []
    reportNode.GetNodeReferenceRoles(roles)
    found = {
        role.removeprefix(RESULT_REFERENCE): reportNode.GetNodeReference(role)
        for role in roles
        if role.startswith(RESULT_REFERENCE)
    }
    return {**{key: node for key, node in found.items() if node is not None}, "report": reportNode}


def resultReport(nodes: Nodes) -> dict:
    """The result's report (result.json) as a dictionary; ValueError, one sentence, for a text that is none any more."""
    node = needed(nodes, "report")
    try:
        report = json.loads(node.GetText())
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        raise ValueError(_(
            "The text '{name}' is no report of a result any more: reconstruct again."
        ).format(name=node.GetName()))
    return report


def resultImage(nodes: Nodes) -> slicer.vtkMRMLScalarVolumeNode:
    """The image that overlays lie on: the mean, else the best classical one."""
    return needed(nodes, "mean" if "mean" in nodes else bestClassical(nodes) or "mean")


def resultTitles(nodes: Nodes) -> dict[str, str]:
    """The titles of the classical images of a result's modality by key, the best one first."""
    named = (node.GetAttribute(ATTRIBUTE_PREFIX + "Modality") for node in nodes.values())
    return classicalTitles(next((name for name in named if name), ""))


def bestClassical(nodes: Nodes) -> str | None:
    """The key of the best classical image that a result has, None without any."""
    return firstOf(nodes, *resultTitles(nodes))


def drawArrays(nodes: Nodes) -> list[np.ndarray]:
    """The draws, arrays (slices, rows, columns) that share the sequence's memory; empty when they were not kept."""
    sequence = nodes.get("draws")
    if sequence is None:
        return []
    count = sequence.GetNumberOfDataNodes()
    return [slicer.util.arrayFromVolume(sequence.GetNthDataNode(index)) for index in range(count)]


def showMean(nodes: Nodes) -> None:
    """The mean alone in all slice views."""
    _show(needed(nodes, "mean"))


def showUncertainty(nodes: Nodes, opacity: float | None = None, threshold: float | None = None) -> None:
    """The uncertainty over the mean, with its legend; values under `threshold` (its unit) are transparent."""
    _showOverlay(nodes, "uncertainty", opacity, threshold)


def showNotSeen(nodes: Nodes, share: bool = True, opacity: float | None = None, threshold: float | None = None) -> None:
    """What the measurement does not determine, over the mean: its share of the variance, or (HU) its spread."""
    _showOverlay(nodes, "not_seen_share" if share else "not_seen", opacity, threshold)


def showResidual(nodes: Nodes, opacity: float | None = None) -> None:
    """The backprojected residual over the mean, in noise units, diverging colours, symmetric window."""
    _showOverlay(nodes, "residual", RESIDUAL_OPACITY if opacity is None else opacity)


def showPriorDecided(nodes: Nodes, opacity: float | None = None) -> None:
    """Where the prior decided, over the mean: how far the data pull it from the prior, in standard deviations."""
    _showOverlay(nodes, "prior_decided", RESIDUAL_OPACITY if opacity is None else opacity)


def showDataDisagree(nodes: Nodes, opacity: float | None = None) -> None:
    """Where data and image disagree, over the mean, in standard deviations, diverging colours."""
    _showOverlay(nodes, "data_disagree", RESIDUAL_OPACITY if opacity is None else opacity)


def showDraws(nodes: Nodes, playing: bool = False) -> slicer.vtkMRMLSequenceBrowserNode:
    """The draws as a sequence whose current one is shown in the slice views; returns its browser."""
    sequence, browser = needed(nodes, "draws"), needed(nodes, "draws_browser")
    _show(browser.GetProxyNode(sequence))
    browser.SetPlaybackLooped(True)
    browser.SetPlaybackRateFps(2.0)
    browser.SetPlaybackActive(playing)
    return browser


def selectDraw(nodes: Nodes, index: int) -> None:
    """Show draw `index` (from 0) of the sequence."""
    count = needed(nodes, "draws").GetNumberOfDataNodes()
    if not 0 <= index < count:
        raise ValueError(_(
            "The result has samples 0 to {last}, but {index} was asked for: choose one of them."
        ).format(last=count - 1, index=index))
    browser = needed(nodes, "draws_browser")
    browser.SetSelectedItemNumber(index)
    # Slicer's Sequences module does this by itself; without it the proxy follows here.
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def flickerKeys(nodes: Nodes) -> tuple[str, str] | None:
    """What `flicker` shows: the best classical image and the mean; None where one of them is not there."""
    best = bestClassical(nodes)
    return None if best is None or "mean" not in nodes else (best, "mean")


def flicker(nodes: Nodes, first: str = "", second: str = "mean") -> str:
    """Show `first` (by default the best classical image) or `second` in the same place, in turn; returns its key."""
    first = first or bestClassical(nodes) or next(iter(resultTitles(nodes)), "mean")
    back, front = needed(nodes, first), needed(nodes, second)
    hideLegends()
    shown = [
        layers.GetForegroundOpacity() > 0.5
        for layers in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID()) == (back.GetID(), front.GetID())
    ]
    toFront = not any(shown)
    slicer.util.setSliceViewerLayers(background=back, foreground=front, foregroundOpacity=1.0 if toFront else 0.0)
    return second if toFront else first


def showDifference(
    nodes: Nodes, key: str = "mean", reference: slicer.vtkMRMLScalarVolumeNode | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume `key` minus a reference (default: the result's), diverging colours about zero; returns its node.

    It is a node of its own, made anew at each call. Raises ValueError unless both lie on the same grid in one unit.
    """
    node, reference = needed(nodes, key), reference or needed(nodes, "reference")
    volume, other = volumeFromNode(node), volumeFromNode(reference)
    sameGrid = volume.array.shape == other.array.shape and np.allclose(volume.ijk_to_ras, other.ijk_to_ras, atol=1e-3)
    if not sameGrid or node.GetTransformNodeID() != reference.GetTransformNodeID() or volume.unit != other.unit:
        raise ValueError(_(
            "'{name}' and '{reference}' differ in grid, transform or unit: resample the reference to the result "
            "first."
        ).format(name=node.GetName(), reference=reference.GetName()))
    report = needed(nodes, "report")
    old = report.GetNodeReference(RESULT_REFERENCE + "difference")
    if old is not None:
        slicer.mrmlScene.RemoveNode(old)
    label = f" ({report.GetName().rpartition(': ')[2]})"  # once, at the end
    first = node.GetName().removesuffix(label)
    name = f"{first} minus {reference.GetName().removesuffix(label)}" + label * (first != node.GetName())
    made = nodeFromVolume(volume.with_array(volume.array - other.array), name, node.GetTransformNodeID())
    made.SetAttribute(ATTRIBUTE_PREFIX + "Result", "difference")
    made.SetNodeReferenceID(INPUT_REFERENCE, node.GetNodeReferenceID(INPUT_REFERENCE))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(made) or hierarchy.CreateItem(parent, made), parent)
    displayOverlay(made, "difference")
    report.SetNodeReferenceID(RESULT_REFERENCE + "difference", made.GetID())
    nodes["difference"] = made
    _show(made)
    addLegend(made, "difference", resultReport(nodes).get("spread") or "point")
    return made


def needed(nodes: Nodes, key: str) -> slicer.vtkMRMLNode:
    """A node of the result; raises ValueError when the result lacks it or it was removed."""
    node = nodes.get(key)
    if node is None or not slicer.mrmlScene.IsNodePresent(node):
        raise ValueError(_("This result has no '{key}': reconstruct again and keep it.").format(key=key))
    return node


def _show(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """One volume alone in all slice views."""
    hideLegends()
    slicer.util.setSliceViewerLayers(background=node, foreground=None)


def _showOverlay(nodes: Nodes, key: str, opacity: float | None = None, threshold: float | None = None) -> None:
    node = needed(nodes, key)
    hideLegends()
    slicer.util.setSliceViewerLayers(
        background=resultImage(nodes),
        foreground=node,
        foregroundOpacity=OVERLAY_OPACITY if opacity is None else opacity,
    )
    if threshold is not None:
        setThreshold(node, threshold)
    addLegend(node, key, resultReport(nodes).get("spread") or "point")

"""A finished job folder becomes nodes: volumes beside the input, draws as a sequence, provenance, first view.

Everything is read and checked before the first node is made; if anything fails after that, what was made is removed
and the views show what they showed before.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import slicer
import slicer.util
import vtk
from diffusion_engine.io.images import read_volume
from diffusion_engine.jobs.job import read_result
from diffusion_engine.modalities.table import FIRST, modality_named
from diffusion_engine.volume import Volume
from slicer.i18n import tr as _

from DiffusionReconLib.scene.classical import classicalTitles, firstOf
from DiffusionReconLib.scene.display import (
    OVERLAY_OPACITY,
    OVERLAYS,
    addLegend,
    displayImage,
    displayOverlay,
    hideLegends,
)
from DiffusionReconLib.scene.volumes import nodeFromVolume

ATTRIBUTE_PREFIX = "DiffusionPriors."
PROVENANCE_KEYS = ("modality", "method", "prior", "spread", "seed", "draws", "seconds")
INPUT_REFERENCE = "DiffusionPriors.Input"
# From the report to each of its nodes by key: a result is found again in a reopened scene.
RESULT_REFERENCE = "DiffusionPriors.Result."
RESULT_NAMES = {
    "mean": "diffusion mean",
    "reference": "reference",
    "fallback": "diffusion blended towards {fallback}",
    "not_seen": "spread not determined by the scan ({unit})",
    "not_seen_share": "share of the variance not determined by the scan",
    "residual": "residual (noise standard deviations)",
    "prior_decided": "map of where the model decided (standard deviations)",
    "phase": "phase ({unit})",
    "data_disagree": "map of where data and image disagree (standard deviations)",
}
SPREAD_NAMES = {
    "posterior": "posterior standard deviation",
    "near-posterior": "spread of samples, not an error bar",
    "concentrated": "spread of estimates, not an error bar",
    "point": "spread of estimates, not an error bar",
}
DRAW = "draw_"


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

    The nodes lie in a subject-hierarchy folder beside `inputNode`, in its unit and under its parent transform.
    `withDraws`: single draws as well, "draws" (a sequence) and "draws_browser". The mean is the background of the
    slice views and the uncertainty the foreground; a result that failed its gate shows its fallback instead, alone.
    Raises ValueError or RuntimeError in one sentence, with the scene as it was.
    """
    contents = _readContents(Path(jobFolder), withDraws)
    report = contents.report
    baseName = inputNode.GetName() if inputNode is not None else report["modality"].upper()
    transformID = inputNode.GetTransformNodeID() if inputNode is not None else None
    first = firstImage(report["modality"], contents.volumes)
    assert first is not None  # as `_readContents` made sure
    label = _freeLabel(baseName, resultLabel(report, datetime.datetime.now()))
    with sceneKeptOnFailure():
        folder = _makeFolder(f"{baseName}: {label}", inputNode)
        nodes: dict[str, slicer.vtkMRMLNode] = {}
        for key in sorted(contents.volumes, key=lambda each: each != first):  # the others take the first one's window
            volume = contents.volumes[key]
            if key.startswith(DRAW):
                continue
            name = f"{baseName} {resultName(key, report, volume.unit)} ({label})"
            node = nodeFromVolume(volume, name, transformID)
            nodes[key] = node
            _putIntoFolder(node, folder)
            _addProvenance(node, key, report, inputNode)
            if key in OVERLAYS:
                displayOverlay(node, key)
            else:
                displayImage(node, report["modality"], nodes[first])
        draws = [volume for key, volume in contents.volumes.items() if key.startswith(DRAW)]
        if draws:
            nodes.update(_addDraws(f"{baseName} samples ({label})", draws, nodes[first], report, inputNode, folder))
        nodes["report"] = _addReport(f"{baseName}: {label}", report, folder, nodes)
        overlay = nodes.get("uncertainty") if first != "fallback" else None
        slicer.util.setSliceViewerLayers(
            background=nodes[first], foreground=overlay, foregroundOpacity=OVERLAY_OPACITY
        )
        hideLegends()
        if overlay is not None:
            addLegend(overlay, "uncertainty", report["spread"])
        if inputNode is None:  # measured data: nothing was on show at this place before
            slicer.app.applicationLogic().FitSliceToAll()
    return nodes


def firstImage(modality: str, keys: Iterable[str]) -> str | None:
    """What the slice views show at first, the best first; a fallback is there only where the mean is not trusted."""
    return firstOf(keys, "fallback", "mean", *classicalTitles(modality))


def resultName(key: str, report: dict, unit: str) -> str:
    """What a result is called: its uncertainty is a posterior standard deviation only where the report says so."""
    if key == "uncertainty":
        return f"{SPREAD_NAMES[report['spread']]} ({unit})"
    titles = classicalTitles(report["modality"])
    fallback = next(iter(titles.values()), "")
    return titles.get(key, RESULT_NAMES.get(key, key)).format(unit=unit, fallback=fallback)


def resultLabel(report: dict, time: datetime.datetime) -> str:
    """What tells one result from another of the same input: method, scan, time, as in "TMPD, 60 views, 14:32"."""
    parts = [(report.get("solver") or report["method"]).upper(), scanWords(report), f"{time:%H:%M}"]
    return ", ".join(part for part in parts if part)


def scanWords(report: dict) -> str:
    """The scan of a result in a few words of its modality, such as "60 views"; "" where the report does not tell."""
    known = {"geometry": "", **report.get("settings", {}), **report.get("geometry", {})}
    try:
        return modality_named(str(report.get("modality", FIRST)).lower()).in_words(known).rpartition(", ")[2]
    except (KeyError, ValueError):
        return ""


def _freeLabel(baseName: str, label: str) -> str:
    """The label, with a number where a result of this name is there: two of one minute do not carry one name."""
    taken = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLTextNode")}
    numbers = itertools.count(2)
    free = label
    while f"{baseName}: {free}" in taken:
        free = f"{label}, {next(numbers)}"
    return free


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
        # Sequence browsers first: they make the nodes again that they show. Then the last made first: display nodes
        # before what they display would leave dangling references.
        added = reversed([node for node in _allNodes() if node.GetID() not in nodesBefore])
        for node in sorted(added, key=lambda each: not each.IsA("vtkMRMLSequenceBrowserNode")):
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)
        for item in _allItems(hierarchy) - itemsBefore:
            hierarchy.RemoveItem(item, False, False)
        raise


def _readContents(folder: Path, withDraws: bool) -> _Contents:
    report, paths = read_result(folder)
    # A classical reconstruction has no spread, one draw alone has none either.
    report = {**report, "spread": report.get("spread") or "point"}
    if report["spread"] not in SPREAD_NAMES:
        raise ValueError(_(
            "The result in {folder} says spread '{spread}', expected one of {names}: it was made by another version; "
            "reconstruct again."
        ).format(folder=folder, spread=report["spread"], names=sorted(SPREAD_NAMES)))
    kept = report.get("settings", {}).get("keep", ("mean", "uncertainty"))
    spreads = report["spread"] != "point" and report.get("draws", 0) > 1
    for key in ("mean", "uncertainty") if spreads else ():
        if key in kept and key not in paths:
            raise ValueError(_(
                "The result in {folder} has no '{key}' volume among {paths}: reconstruct again."
            ).format(folder=folder, key=key, paths=sorted(paths)))
    if firstImage(report["modality"], paths) is None:
        raise ValueError(_(
            "The result in {folder} has no image among its volumes {paths}: reconstruct again."
        ).format(folder=folder, paths=sorted(paths)))
    wanted = {key: path for key, path in paths.items() if withDraws or not key.startswith(DRAW)}
    volumes = {key: read_volume(path) for key, path in wanted.items()}
    shapes = {key: volume.array.shape for key, volume in volumes.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(_(
            "The volumes in {folder} differ in shape ({shapes}): reconstruct again."
        ).format(folder=folder, shapes=shapes))
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


def _addReport(
    name: str, report: dict, folder: int, nodes: dict[str, slicer.vtkMRMLNode]
) -> slicer.vtkMRMLTextNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetText(json.dumps(report, indent=2, ensure_ascii=False))
    node.SetAttribute(ATTRIBUTE_PREFIX + "Report", "1")
    for key, each in nodes.items():
        node.SetNodeReferenceID(RESULT_REFERENCE + key, each.GetID())
    _putIntoFolder(node, folder)
    return node


def _addDraws(
    name: str,
    draws: list[Volume],
    like: slicer.vtkMRMLScalarVolumeNode,
    report: dict,
    inputNode: slicer.vtkMRMLNode | None,
    folder: int,
) -> dict[str, slicer.vtkMRMLNode]:
    """The draws as one sequence; its browser keeps a volume node that holds the draw now chosen."""
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("draw")
    sequence.SetIndexUnit("")
    for number, draw in enumerate(draws, 1):
        node = nodeFromVolume(draw, f"{name} {number}", like.GetTransformNodeID())
        _addProvenance(node, f"{DRAW}{number}", report, inputNode)
        sequence.SetDataNodeAtValue(node, str(number))  # a copy
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetOverwriteProxyName(sequence, False)
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    current = browser.GetProxyNode(sequence)
    current.SetName(f"{name}, one at a time")
    current.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    displayImage(current, report["modality"], like)
    for node in (sequence, browser, current):
        _putIntoFolder(node, folder)
    return {"draws": sequence, "draws_browser": browser}


def _allNodes() -> list[slicer.vtkMRMLNode]:
    nodes = slicer.mrmlScene.GetNodes()
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


def _allItems(hierarchy: slicer.vtkMRMLSubjectHierarchyNode) -> set[int]:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return {items.GetId(index) for index in range(items.GetNumberOfIds())}

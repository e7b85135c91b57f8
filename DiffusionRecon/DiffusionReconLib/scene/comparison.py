"""Images of a result side by side, in a layout of their own that gives way to the one before.

`nodes` are those of a result by key, see :mod:`.results`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer
import slicer.util
from slicer.i18n import tr as _

from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX
from DiffusionReconLib.scene.results import Nodes, bestClassical, needed, resultTitles

# Layouts with a number of their own; Slicer's are below 100, users' usually from 500.
COMPARE_LAYOUT_FIRST = 8710
COMPARE_VIEW = "DiffusionCompare{number}"
COMPARE_LABELS = {"reference": "Ref", "mean": "Mean", "fallback": "Blend"}
COMPARE_COLOURS = ("#6EB04B", "#EDD54C", "#F34A33", "#4A90D9")
LAYOUT_BEFORE = ATTRIBUTE_PREFIX + "LayoutBefore"


def compareKeys(nodes: Nodes) -> list[str]:
    """What `compare` shows: the reference where there is one, the best classical image, the diffusion result."""
    wanted = ("reference", bestClassical(nodes), "fallback", "mean")
    return [key for key in wanted if key is not None and key in nodes]


def compare(nodes: Nodes, keys: Sequence[str] | None = None) -> list[str]:
    """Side by side in linked axial views: reference, the best classical image, diffusion; returns the views' names."""
    keys = compareKeys(nodes) if keys is None else list(keys)
    if not 2 <= len(keys) <= len(COMPARE_COLOURS):
        raise ValueError(_(
            "Two to {most} images can be compared, but {count} were named: {names}."
        ).format(most=len(COMPARE_COLOURS), count=len(keys), names=keys))
    volumes = [needed(nodes, key) for key in keys]
    layout = _layoutNode()
    identifier = COMPARE_LAYOUT_FIRST + len(keys)
    description = _compareDescription([{**resultTitles(nodes), **COMPARE_LABELS}.get(key, key) for key in keys])
    if not (layout.IsLayoutDescription(identifier) and layout.GetLayoutDescription(identifier) == description):
        if layout.IsLayoutDescription(identifier):
            layout.SetLayoutDescription(identifier, description)
        else:
            layout.AddLayoutDescription(identifier, description)
    if not isCompared():
        layout.SetAttribute(LAYOUT_BEFORE, str(layout.GetViewArrangement()))
    layout.SetViewArrangement(identifier)
    names = [COMPARE_VIEW.format(number=number) for number in range(1, len(keys) + 1)]
    for name, volume in zip(names, volumes, strict=True):
        layers = _compositeNode(name)
        layers.SetBackgroundVolumeID(volume.GetID())
        layers.SetForegroundVolumeID(None)
        layers.SetLabelVolumeID(None)
        # Pan, zoom and scroll in one view go to the others at once, not only at a mouse button's release.
        layers.SetLinkedControl(True)
        layers.SetHotLinkedControl(True)
    _whenViewsHaveASize(lambda: _fit(names))
    return names


def isCompared() -> bool:
    """Whether the views are side by side, whoever chose the layout."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return layout is not None and _isOwn(layout.GetViewArrangement())


def endCompare() -> None:
    """Back to the layout that was shown before `compare`, to four views where that is not known; else nothing."""
    if not isCompared():
        return
    layout = _layoutNode()
    before = layout.GetAttribute(LAYOUT_BEFORE) or ""
    layout.RemoveAttribute(LAYOUT_BEFORE)
    known = before.isdecimal() and not _isOwn(int(before))
    layout.SetViewArrangement(int(before) if known else slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def endLostCompare() -> None:
    """End a comparison that came with a scene from another session, whose layout is unknown here: no view shows."""
    if isCompared() and not _layoutNode().IsLayoutDescription(_layoutNode().GetViewArrangement()):
        endCompare()


def _layoutNode() -> slicer.vtkMRMLLayoutNode:
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is None:
        raise ValueError(_("The scene has no layout to show views in: start Slicer with its main window."))
    return node


def _isOwn(arrangement: int) -> bool:
    return COMPARE_LAYOUT_FIRST < arrangement <= COMPARE_LAYOUT_FIRST + len(COMPARE_COLOURS)


def _compareDescription(labels: Sequence[str]) -> str:
    """Slicer's description of a layout: axial views in one row."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{COMPARE_VIEW.format(number=number)}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{colour}</property></view></item>'
        for number, (label, colour) in enumerate(zip(labels, COMPARE_COLOURS, strict=False), 1)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def _compositeNode(name: str) -> slicer.vtkMRMLSliceCompositeNode:
    """What a slice view shows; made here where the view itself, which takes it over, comes later."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node.GetLayoutName() == name:
            return node
    node = slicer.vtkMRMLSliceCompositeNode()
    node.SetLayoutName(name)
    node.SetSingletonTag(name)
    return slicer.mrmlScene.AddNode(node)


def _whenViewsHaveASize(action: Callable[[], None]) -> None:
    """Views that have just come into the layout get their size when Qt's loop turns; at once without Qt."""
    try:
        import qt
    except ImportError:
        action()
        return
    scene = slicer.mrmlScene

    def act() -> None:
        if slicer.mrmlScene is scene:
            action()

    qt.QTimer.singleShot(0, act)


def _fit(names: Sequence[str]) -> None:
    for logic in _sliceLogics(names):
        logic.FitSliceToBackground()
        logic.SnapSliceOffsetToIJK()


def _sliceLogics(names: Sequence[str]) -> list[slicer.vtkMRMLSliceLogic]:
    logics = slicer.app.applicationLogic().GetSliceLogics()
    every = [logics.GetItemAsObject(index) for index in range(logics.GetNumberOfItems())]
    return [logic for logic in every if logic.GetSliceNode() and logic.GetSliceNode().GetLayoutName() in names]

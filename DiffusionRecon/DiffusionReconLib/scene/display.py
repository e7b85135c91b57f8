"""How each volume of a result is displayed: window, colours, threshold and legend, by its key and its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util

from DiffusionReconLib.scene.colours import differenceColourNode, uncertaintyColourNode
from DiffusionReconLib.scene.volumes import RESULT_ATTRIBUTE, unitOfNode

# Window width and level in HU: shows lung, fat and soft tissue at once (a lung window; bone saturates).
CT_WINDOW_LEVEL = (1400.0, -300.0)
OVERLAY_OPACITY = 0.45
# Of the dark ground behind a legend's white letters: on white it leaves a contrast of 7.
LETTERS_OPACITY = 0.65
# An overlay's window ends at this percentile of its values; below `hiddenShare` of the window it is transparent.
WINDOW_PERCENTILE = 99.5
# Of the maps that warn: what stands out of them does so from about 4 standard deviations on.
WARNING_WINDOW = 6.0
# Noise alone stays within three standard deviations; a narrower window would colour mere noise.
LEAST_RESIDUAL_WINDOW = 3.0
SPREAD_TITLES = {
    "posterior": "Std. dev.\n{unit}", "near-posterior": "Spread\n{unit}", "concentrated": "Spread\n{unit}",
    "point": "Spread\n{unit}",
}


@dataclass(frozen=True)
class Overlay:
    """`title`: two short lines of the legend; `diverging`: signed, colours about zero; `limit`: fixed window's end.

    `leastLimit`: the window ends there at the lowest; `hiddenShare`: see WINDOW_PERCENTILE.
    """

    title: str
    diverging: bool = False
    limit: float | None = None
    leastLimit: float = 0.0
    hiddenShare: float = 0.2


OVERLAYS = {
    "uncertainty": Overlay("Spread\n{unit}"),
    "not_seen": Overlay("Not det.\n{unit}"),
    "not_seen_share": Overlay("Not det.\nshare", limit=1.0, hiddenShare=0.5),
    "residual": Overlay("Residual\nnoise s.d.", diverging=True, leastLimit=LEAST_RESIDUAL_WINDOW),
    "prior_decided": Overlay("Model dec.\ns.d.", diverging=True, limit=WARNING_WINDOW),
    "data_disagree": Overlay("Disagree\ns.d.", diverging=True, limit=WARNING_WINDOW),
    "difference": Overlay("Diff.\n{unit}", diverging=True),
}


def displayImage(
    node: slicer.vtkMRMLScalarVolumeNode, modality: str, like: slicer.vtkMRMLScalarVolumeNode | None = None
) -> None:
    """Grey, with the modality's window, a phase from -pi to pi; without a fixed one, that of the values of `like`
    (default: its own).
    """
    display = _displayNode(node)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    if unitOfNode(node) == "HU":
        display.SetWindowLevel(*CT_WINDOW_LEVEL)
        return
    if unitOfNode(node) == "rad":
        display.SetWindowLevelMinMax(-math.pi, math.pi)
        return
    low, high = np.percentile(slicer.util.arrayFromVolume(like or node), (0.5, 99.5))
    if modality == "pet":  # no activity is black
        low = 0.0
    display.SetWindowLevelMinMax(float(low), float(max(high, low + 1e-6)))


def displayOverlay(node: slicer.vtkMRMLScalarVolumeNode, key: str) -> None:
    """Colours, window and threshold of a map that lies over an image; signed ones have no threshold."""
    kind = OVERLAYS[key]
    array = slicer.util.arrayFromVolume(node)
    limit = kind.limit or max(niceUpperLimit(float(np.percentile(np.abs(array), WINDOW_PERCENTILE))), kind.leastLimit)
    display = _displayNode(node)
    if kind.diverging:
        display.SetAndObserveColorNodeID(differenceColourNode().GetID())
        display.SetWindowLevelMinMax(-limit, limit)
        return
    display.SetAndObserveColorNodeID(uncertaintyColourNode().GetID())
    display.SetWindowLevelMinMax(0.0, limit)
    setThreshold(node, kind.hiddenShare * limit)


def setThreshold(node: slicer.vtkMRMLScalarVolumeNode, threshold: float) -> None:
    """Make what is under `threshold`, in the volume's unit, transparent."""
    display = node.GetDisplayNode()
    highest = float(slicer.util.arrayFromVolume(node).max())
    display.AutoThresholdOff()
    display.SetThreshold(threshold, max(highest, display.GetWindowLevelMax(), threshold))
    display.ApplyThresholdOn()


def addLegend(node: slicer.vtkMRMLScalarVolumeNode, key: str, spread: str) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Show the overlay's legend, made anew: its manager looks at what a slice shows when it is made, not later."""
    logic = slicer.modules.colors.logic()
    old = logic.GetColorLegendDisplayNode(node)
    if old is not None:
        slicer.mrmlScene.RemoveNode(old)
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    title = SPREAD_TITLES[spread] if key == "uncertainty" else OVERLAYS[key].title
    legend.SetTitleText(title.format(unit=unitOfNode(node)))
    legend.SetLabelFormat("%.0f" if node.GetDisplayNode().GetWindow() >= 5 else "%.2g")
    legend.SetNumberOfLabels(5 if OVERLAYS[key].diverging else 6)
    legend.SetMaxNumberOfColors(256)
    # In the upper right corner, small: the default covers a quarter of a small view. A title that is wider than the
    # legend hides all of it, hence two short lines.
    legend.GetTitleTextProperty().SetFontSize(14)
    legend.GetLabelTextProperty().SetFontSize(12)
    if OVERLAYS[key].diverging:  # their zero is light grey, and so is most of the picture
        for letters in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
            letters.SetBackgroundColor(0.0, 0.0, 0.0)
            letters.SetBackgroundOpacity(LETTERS_OPACITY)
    legend.SetSize(0.1, 0.38)
    legend.SetPosition(0.95, 0.8)
    legend.SetVisibility(True)
    return legend


def hideLegends() -> list[slicer.vtkMRMLColorLegendDisplayNode]:
    """Hide the legends of results and return those that were shown; what users gave other volumes stays."""
    logic, hidden = slicer.modules.colors.logic(), []
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        legend = logic.GetColorLegendDisplayNode(node) if node.GetAttribute(RESULT_ATTRIBUTE) in OVERLAYS else None
        if legend is not None and legend.GetVisibility():
            legend.SetVisibility(False)
            hidden.append(legend)
    return hidden


def niceUpperLimit(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not under `value`; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value * (1 - 1e-9))


def _displayNode(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeDisplayNode:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    return display

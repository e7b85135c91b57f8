"""One call for each way to look at a result: mean, uncertainty, what was not seen, residual, draws, side by side.

`nodes` is everywhere the dictionary that `publishResult` returns (nodes by key); `resultNodes(reportNode)` gives the
same one of a result in a reopened scene. A function that needs a volume which the result lacks raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

import slicer

Nodes = dict[str, slicer.vtkMRMLNode]


def resultReports() -> list[slicer.vtkMRMLTextNode]:
    """The report nodes of all results in the scene, oldest first."""
    raise NotImplementedError


def resultNodes(reportNode: slicer.vtkMRMLTextNode) -> Nodes:
    """The nodes of a result by key, as `publishResult` returned them; those removed since are left out."""
    raise NotImplementedError


def resultReport(nodes: Nodes) -> dict:
    """The result's report (result.json) as a dictionary."""
    raise NotImplementedError


def showMean(nodes: Nodes) -> None:
    """The mean alone in all slice views."""
    raise NotImplementedError


def showUncertainty(nodes: Nodes, opacity: float | None = None, threshold: float | None = None) -> None:
    """The uncertainty over the mean, with its legend; values under `threshold` (its unit) are transparent."""
    raise NotImplementedError


def showNotSeen(nodes: Nodes, share: bool = True, opacity: float | None = None, threshold: float | None = None) -> None:
    """What the measurement does not determine, over the mean: its share of the variance, or (HU) its spread."""
    raise NotImplementedError


def showResidual(nodes: Nodes, opacity: float | None = None) -> None:
    """The backprojected residual over the mean, in noise units, diverging colours, symmetric window."""
    raise NotImplementedError


def showDraws(nodes: Nodes, playing: bool = False) -> slicer.vtkMRMLSequenceBrowserNode:
    """The draws as a sequence whose current one is shown in the slice views; returns its browser."""
    raise NotImplementedError


def selectDraw(nodes: Nodes, index: int) -> None:
    """Show draw `index` (from 0) of the sequence."""
    raise NotImplementedError


def compare(nodes: Nodes, keys: Sequence[str] | None = None) -> list[str]:
    """Side by side in linked axial views: reference, classical (TV, else FBP), diffusion; returns the views' names."""
    raise NotImplementedError


def endCompare() -> None:
    """Back to the layout that was shown before `compare`."""
    raise NotImplementedError


def flicker(nodes: Nodes, first: str = "tv", second: str = "mean") -> str:
    """Show `first` or `second` in the same place, in turn at each call; returns the key now shown."""
    raise NotImplementedError


def showDifference(
    nodes: Nodes, key: str = "mean", reference: slicer.vtkMRMLScalarVolumeNode | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume `key` minus a reference (default: the result's), diverging colours about zero; returns its node."""
    raise NotImplementedError

"""The estimate so far in the slice views while a run goes on; the views get back what they showed before.

It is the foreground and hides the background under it, so that a scene saved meanwhile, without the preview, shows the
background when it is opened. Where nothing is reconstructed the views show what they showed before.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import slicer
import slicer.util
from diffusion_engine.volume import Volume

from DiffusionReconLib.scene.display import CT_WINDOW_LEVEL, hideLegends
from DiffusionReconLib.scene.preview_file import previewInSteps
from DiffusionReconLib.scene.volumes import PREVIEW, RESULT_ATTRIBUTE, nodeFromVolume, updateNodeFromVolume

READ_SECONDS = 0.01
"""How long one poll may read."""


class Preview:
    """Shows each preview file of a job folder; `poll` reads it, some milliseconds at a time, then sets the node."""

    def __init__(self, folder: Path, inputNode: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        self._folder = folder
        self._transformID = inputNode.GetTransformNodeID() if inputNode is not None else None
        self._name = f"{inputNode.GetName()} preview" if inputNode is not None else "preview"
        self._node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._before: list[tuple[slicer.vtkMRMLSliceCompositeNode, str | None, str | None, float]] = []
        self._legends: list[slicer.vtkMRMLColorLegendDisplayNode] = []
        self._steps: Generator[None, None, Volume] | None = None

    @property
    def node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The node that is shown, None before the first preview."""
        return self._node

    def load(self, name: str) -> None:
        """Begin to read a preview; one that is still being read goes first, and this one is left out."""
        if self._steps is None:
            self._steps = self._readFile(name)

    def poll(self) -> bool:
        """Show what was read since; whether there was something."""
        volume = self._readOn()
        if volume is None:
            return False
        if self._node is None or not slicer.mrmlScene.IsNodePresent(self._node):
            self._show(volume)
        else:
            updateNodeFromVolume(self._node, volume)
        return True

    def close(self) -> None:
        """Remove the preview and restore the views."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        scene = slicer.mrmlScene
        shown = self._node.GetID() if self._node is not None else None
        for layers, *before in self._before:
            # What a user chose meanwhile stays.
            if scene.IsNodePresent(layers) and shown in _volumes(layers):
                background, foreground, opacity = before
                layers.SetBackgroundVolumeID(background)
                layers.SetForegroundVolumeID(foreground)
                layers.SetForegroundOpacity(opacity)
        over = {layers.GetForegroundVolumeID() for layers, *_before in self._before if scene.IsNodePresent(layers)}
        for legend in self._legends:
            about = legend.GetDisplayableNode() if scene.IsNodePresent(legend) else None
            if about is not None and about.GetID() in over:
                legend.SetVisibility(True)
        self._before, self._legends = [], []
        if self._node is not None and scene.IsNodePresent(self._node):
            display = self._node.GetDisplayNode()
            scene.RemoveNode(self._node)
            if display is not None and scene.IsNodePresent(display):
                scene.RemoveNode(display)
        self._node = None

    def _show(self, volume: Volume) -> None:
        self._before = [
            (layers, layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID(), layers.GetForegroundOpacity())
            for layers in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        ]
        self._node = nodeFromVolume(volume, self._name, self._transformID)
        self._node.SetAttribute(RESULT_ATTRIBUTE, PREVIEW)
        self._node.SetSaveWithScene(False)
        self._node.CreateDefaultDisplayNodes()
        display = self._node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.AutoWindowLevelOff()
        display.SetWindowLevel(*CT_WINDOW_LEVEL)
        self._legends = hideLegends()
        for layers, background, _foreground, _opacity in self._before:
            if background:
                layers.SetForegroundOpacity(1.0)
                layers.SetForegroundVolumeID(self._node.GetID())
            else:
                layers.SetForegroundVolumeID(None)
                layers.SetBackgroundVolumeID(self._node.GetID())
        if not any(background for _layers, background, _foreground, _opacity in self._before):
            slicer.app.applicationLogic().FitSliceToAll()

    def _readOn(self) -> Volume | None:
        """Some steps of reading; the volume after the last one."""
        end = time.monotonic() + READ_SECONDS
        try:
            while self._steps is not None and time.monotonic() < end:
                next(self._steps)
        except StopIteration as last:
            self._steps = None
            return last.value
        except (OSError, ValueError):  # the run may have ended and removed it
            self._steps = None
        return None

    def _readFile(self, name: str) -> Generator[None, None, Volume]:
        # Renamed first, so that the engine never meets an open file where it writes the next one.
        taken = self._folder / f"shown-{name}"
        (self._folder / name).replace(taken)
        return (yield from previewInSteps(taken))


def _volumes(layers: slicer.vtkMRMLSliceCompositeNode) -> tuple[str | None, str | None]:
    return layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID()

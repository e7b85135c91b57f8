"""Reconstruction of CT from few views with a diffusion prior, and a map of its uncertainty: the Slicer module.

Thin on purpose: nodes, results and the engine's process are in DiffusionReconLib, the mathematics in diffusion_engine.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

POLL_MILLISECONDS = 200


class DiffusionRecon(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Diffusion Reconstruction")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Tomographic Reconstruction")]
        parent.dependencies = []
        parent.contributors = ["DiffusionPriors contributors"]
        parent.helpText = _(
            "Reconstructs CT from few views with FBP, total variation and a diffusion prior, and maps how far "
            "its estimates spread. Choose a CT volume: a sparse-view scan of it is simulated and reconstructed."
        )
        parent.acknowledgementText = _("Built on PyTorch, MONAI, SimpleITK and 3D Slicer.")
        if hasattr(slicer.app, "connect"):  # the Qt application; sample data come with its SampleData module
            slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the synthetic chest among Slicer's sample data; it is computed, not downloaded."""
    if importlib.util.find_spec("SampleData") is None:
        return
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="DiffusionPriors",
        sampleName="SyntheticChestCT",
        # SampleData wants these three as text; with a downloader of its own, a source's address is never asked.
        uris="synthetic:chest",
        fileNames="SyntheticChestCT.nrrd",
        nodeNames="SyntheticChestCT",
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "DiffusionRecon.png"),
        customDownloader=lambda _source: DiffusionReconLogic().makeSyntheticChest(),
    )


class DiffusionReconLogic(ScriptedLoadableModuleLogic):
    """Reconstructs volumes of the scene, from a panel or from Python; the engine runs in another process."""

    def __init__(self, runner: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    def reconstruct(
        self, inputVolumeNode: Any, settings: dict | None = None, progress: Any = None
    ) -> dict[str, Any]:
        """Simulate a sparse-view scan of a volume, reconstruct it, and return the result's nodes by their key.

        `settings`: the engine's (views, arc_degrees, draws, slices, region, seed, device, ...; slices and region are
        indices of the node's own voxels). `progress` is called with each message of the engine (a dict with "event",
        "stage", "fraction", "seconds_left", ...) and cancels by returning False. Blocks until the end. Raises
        ValueError for unusable input, ReconstructionCancelled, or RuntimeError; the scene is then as it was.
        """
        return self._run(self.start(inputVolumeNode, settings), inputVolumeNode, progress)

    def reconstructMeasured(
        self, sinogramPath: str | Path, geometryPath: str | Path, settings: dict | None = None, progress: Any = None
    ) -> dict[str, Any]:
        """Reconstruct a measured sinogram, NRRD (slices, views, detectors), with its geometry JSON."""
        from DiffusionReconLib.engine import Reconstruction, reconstructFrom

        self._requirePackages()
        prepare = reconstructFrom(sinogramPath, geometryPath, dict(settings or {}))
        return self._run(Reconstruction(prepare, self._runner), None, progress)

    def start(self, inputVolumeNode: Any, settings: dict | None = None) -> Any:
        """Start a reconstruction and return it at once, to be polled, published (`publish`) and closed."""
        from DiffusionReconLib.engine import Reconstruction, simulateFrom
        from DiffusionReconLib.volumes import slicesInVolume, volumeFromNode

        if inputVolumeNode is None:
            raise ValueError(_("No input volume is chosen: choose a CT volume."))
        volume = volumeFromNode(inputVolumeNode)
        self._requirePackages()
        settings = dict(settings or {})
        if settings.get("slices") is not None:
            settings["slices"] = slicesInVolume(inputVolumeNode, settings["slices"])
        return Reconstruction(simulateFrom(volume, settings), self._runner)

    def publish(self, reconstruction: Any, inputVolumeNode: Any = None) -> dict[str, Any]:
        """Turn a finished reconstruction into nodes; raises what went wrong in it."""
        from DiffusionReconLib.publish import publishResult

        reconstruction.check()
        return publishResult(reconstruction.folder, inputVolumeNode)

    def makeSyntheticChest(self) -> Any:
        """Add the engine's synthetic chest CT to the scene and return its node."""
        from diffusion_engine.phantoms.chest import synthetic_chest
        from DiffusionReconLib.volumes import nodeFromVolume

        volume, _masks = synthetic_chest()
        node = nodeFromVolume(volume, "SyntheticChestCT")
        node.CreateDefaultDisplayNodes()
        return node

    def _requirePackages(self) -> None:
        from DiffusionReconLib.engine import requirePackages

        if self._runner is None:  # another runner brings its own Python
            requirePackages()

    def _run(self, reconstruction: Any, inputVolumeNode: Any, progress: Any) -> dict[str, Any]:
        try:
            reconstruction.wait(progress)
            return self.publish(reconstruction, inputVolumeNode)
        finally:
            reconstruction.close()


class DiffusionReconWidget(ScriptedLoadableModuleWidget):
    """Input, number of views, Apply (which becomes Cancel), progress."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self._reconstruction = None
        self._inputNode = None

    def setup(self) -> None:
        """Build the panel from its .ui file and connect it."""
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/DiffusionRecon.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = DiffusionReconLogic()
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._update)
        self.ui.applyButton.connect("clicked(bool)", self._applyOrCancel)
        self._update()

    def cleanup(self) -> None:
        """End a running reconstruction when the panel goes away."""
        self._end()

    def _update(self, *_arguments: Any) -> None:
        running = self._reconstruction is not None
        ready = self.ui.inputSelector.currentNode() is not None
        self.ui.applyButton.text = _("Cancel") if running else _("Apply")
        self.ui.applyButton.enabled = running or ready
        if running:
            self.ui.applyButton.toolTip = _("Stop the reconstruction; the scene stays as it is")
        elif ready:
            self.ui.applyButton.toolTip = _("Simulate a sparse-view scan of the volume and reconstruct it")
        else:
            self.ui.applyButton.toolTip = _("Choose an input volume first")
        self.ui.inputSelector.enabled = not running
        self.ui.viewsSpinBox.enabled = not running

    def _applyOrCancel(self, *_arguments: Any) -> None:
        if self._reconstruction is not None:
            self._reconstruction.cancel()  # the timer goes on until the engine has ended
            self.ui.applyButton.enabled = False
            self.ui.statusLabel.text = _("Cancelling...")
            return
        self._inputNode = self.ui.inputSelector.currentNode()
        self.ui.progressBar.value = 0
        self.ui.statusLabel.text = _("Not started.")
        with slicer.util.tryWithErrorDisplay(_("The reconstruction could not start."), waitCursor=True):
            self._reconstruction = self.logic.start(self._inputNode, {"views": self.ui.viewsSpinBox.value})
            self.ui.statusLabel.text = _("Starting...")
            self._timer.start()
        self._update()

    def _poll(self) -> None:
        for message in self._reconstruction.poll():
            if message["event"] == "progress":
                self.ui.progressBar.value = round(100 * message["fraction"])
                self.ui.statusLabel.text = progressText(message)
        if self._reconstruction.finished:
            self._timer.stop()
            self._showEnd()

    def _showEnd(self) -> None:
        from DiffusionReconLib.engine import ReconstructionCancelled

        self.ui.statusLabel.text = _("Failed.")
        try:
            with slicer.util.tryWithErrorDisplay(_("The reconstruction failed."), waitCursor=True):
                # The volume may have been removed from the scene meanwhile: then the result stands alone.
                present = slicer.mrmlScene.IsNodePresent(self._inputNode)
                try:
                    self.logic.publish(self._reconstruction, self._inputNode if present else None)
                    self.ui.progressBar.value = 100
                    self.ui.statusLabel.text = _("Done.")
                except ReconstructionCancelled as cancelled:
                    self.ui.statusLabel.text = str(cancelled)
        finally:
            self._end()

    def _end(self) -> None:
        if self._reconstruction is None:
            return
        self._timer.stop()
        reconstruction, self._reconstruction = self._reconstruction, None
        reconstruction.close()
        self._update()


def progressText(message: dict) -> str:
    """One line of progress for a user: the stage, its step and the time left."""
    text = f"{message['stage']} {message['step']}/{message['total']}"
    left = message.get("seconds_left")
    return text if left is None else _("{text}, about {seconds} s left").format(text=text, seconds=round(left))


class DiffusionReconTest(ScriptedLoadableModuleTest):
    """Self test inside Slicer: a volume's way through nodes, and a refusal that leaves the scene as it was."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all."""
        self.setUp()
        self.testVolumeThroughNodes()
        self.setUp()
        self.testRefusal()

    def testVolumeThroughNodes(self) -> None:
        """An oblique volume keeps its values, its place and its unit."""
        import numpy as np
        from diffusion_engine.volume import Volume
        from DiffusionReconLib.volumes import nodeFromVolume, volumeFromNode

        self.delayDisplay("A volume goes through a node")
        turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        matrix = np.eye(4)
        matrix[:3, :3] = turn * [0.7, 0.7, 2.5]
        volume = Volume(np.random.default_rng(0).normal(0, 100, (3, 4, 5)).astype(np.float32), matrix, "HU")
        back = volumeFromNode(nodeFromVolume(volume, "oblique"))
        assert np.array_equal(back.array, volume.array)
        assert np.allclose(back.ijk_to_ras, matrix, atol=1e-12)
        assert back.unit == "HU"

    def testRefusal(self) -> None:
        """An empty volume is refused before any work, and the scene stays as it was."""
        self.delayDisplay("An empty volume is refused")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        count = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaisesRegex(ValueError, "no voxels"):  # noqa: PT027 (Slicer has no pytest)
            DiffusionReconLogic().reconstruct(node)
        assert slicer.mrmlScene.GetNumberOfNodes() == count

"""Reconstruction of CT, MR and PET from sparse data with a diffusion prior, and a map of its uncertainty: the module.

Thin on purpose: nodes, results and the engine's process are in DiffusionReconLib, the mathematics in diffusion_engine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

LIBRARIES = ("DiffusionReconLib", "diffusion_engine")
_again = hasattr(getattr(slicer, "modules", None), "DiffusionReconWidget")
"""Whether this file is read once more, by a developer's Reload, for a panel that is there."""


def forgetLibraries() -> None:
    """Have the module's own libraries read again too, once this file was: Slicer's Reload reads this file alone.

    For the new panel's set-up: the old panel has ended by then, with the files that it was made of. All at once, so
    that none of the new files meets an old one.
    """
    global _again
    if _again:
        _again = False
        for name in [name for name in sys.modules if name.partition(".")[0] in LIBRARIES]:
            del sys.modules[name]


class DiffusionRecon(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent: Any) -> None:
        from DiffusionReconLib.setup.sample_data import offerSampleData

        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Diffusion Reconstruction")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Tomographic Reconstruction")]
        # Those whose nodes and logics it uses; SampleData, which is not in every Slicer, is looked for instead.
        parent.dependencies = [
            "Colors", "Markups", "Segmentations", "Sequences", "SubjectHierarchy", "Tables", "Texts", "Volumes",
        ]
        parent.contributors = ["DiffusionPriors contributors"]
        parent.helpText = _(
            "Reconstructs CT from few views, MR images from few samples and PET from few counts with classical methods "
            "and a diffusion prior, and maps how far its estimates spread. Choose a CT, MR or PET volume, of which a "
            "scan is simulated, or measured data. "
            "Needs Slicer 5.12 or newer. Not for diagnostic use."
        )
        parent.acknowledgementText = _("Built on PyTorch, MONAI, SimpleITK and 3D Slicer.")
        offerSampleData(registerSampleData)


def registerSampleData() -> None:
    """Offer the synthetic chest and torso among Slicer's sample data."""
    from DiffusionReconLib.setup.sample_data import registerSampleData

    registerSampleData()


class DiffusionReconLogic(ScriptedLoadableModuleLogic):
    """Reconstructs volumes of the scene, from a panel or from Python; the engine runs in another process."""

    def __init__(self, runner: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    def getParameterNode(self) -> Any:
        """The panel's settings, kept in the scene: typed attributes on a vtkMRMLScriptedModuleNode."""
        from DiffusionReconLib.panel.parameters import ReconParameters

        return ReconParameters(super().getParameterNode())

    def reconstruct(
        self, inputVolumeNode: Any, settings: dict | None = None, progress: Any = None, folderName: str = "",
        beside: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Simulate a sparse scan of a volume, reconstruct it, and return the result's nodes by their key.

        `settings`: the engine's (modality, views, arc_degrees or acceleration, draws, slices, region, seed, device,
        ...; slices and region are indices of the node's own voxels). `progress` is called with each message of the
        engine (a dict with "event", "stage", "fraction", "seconds_left", ...) and cancels by returning False. `beside`:
        further volume nodes by the setting that names their file, such as {"attenuation_map": ctNode}. Blocks until the
        end. Raises ValueError for unusable input, ReconstructionCancelled, or RuntimeError; the scene is then
        as it was.
        """
        from DiffusionReconLib.jobs.runs import Request

        request = Request(dict(settings or {}), inputVolumeNode, None, folderName, beside=beside or {})
        return self._run(request, progress)

    def reconstructMeasured(
        self, dataPath: str | Path, description: Any = "", settings: dict | None = None, progress: Any = None,
        folderName: str = "", beside: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Reconstruct measured data of settings["modality"] (by default CT).

        CT: a sinogram, NRRD (slices, views, detectors), with the path of its geometry JSON. Raw data of MR or counts of
        PET: a file, with the path of the JSON that says what it does not, or the same as a dict, or nothing. `beside`:
        as in `reconstruct`.
        """
        from DiffusionReconLib.jobs.runs import Request

        described = str(description) if isinstance(description, Path) else description
        request = Request(dict(settings or {}), None, (str(dataPath), described), folderName, beside=beside or {})
        return self._run(request, progress)

    def start(self, inputVolumeNode: Any, settings: dict | None = None) -> Any:
        """Start a reconstruction and return it at once, to be polled, published (`publish`) and closed."""
        from DiffusionReconLib.jobs.runs import Request

        return self.startRequest(Request(dict(settings or {}), inputVolumeNode))

    def startRequest(self, request: Any) -> Any:
        """Start what a request asks for; raises ValueError at once for an unusable input."""
        from DiffusionReconLib.jobs.engine import Reconstruction, reconstructFrom, simulateFrom
        from DiffusionReconLib.setup.setup_steps import requirePackages

        if request.measured is not None:
            prepare = reconstructFrom(*request.measured, request.settings, request.beside)
        elif request.inputNode is None:
            raise ValueError(_("No input volume is chosen: choose a volume."))
        else:
            prepare = simulateFrom(request.inputNode, request.settings, request.beside)
        if self._runner is None:  # another runner brings its own Python
            requirePackages()
        return Reconstruction(prepare, self._runner)

    def publish(self, reconstruction: Any, inputVolumeNode: Any = None, folderName: str = "") -> dict[str, Any]:
        """Turn a finished reconstruction into nodes; raises what went wrong in it."""
        from DiffusionReconLib.scene.publish import publishResult

        reconstruction.check()
        nodes = publishResult(reconstruction.folder, inputVolumeNode, withDraws=True)
        if folderName:
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
            folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes["report"]))
            hierarchy.SetItemName(folder, hierarchy.GenerateUniqueItemName(folderName))
        return nodes

    def makeSUV(
        self, volumeNode: Any, kind: str = "bw", given: dict[str, Any] | None = None, folder: str | Path = ""
    ) -> Any:
        """Add a PET volume in SUV beside one in Bq/mL, by the headers of its series; returns its node.

        `kind`: bw, lbm, lbm_james, bsa or ibw. `given`: what stands in place of the header, by DICOM keyword, such as
        {"PatientWeight": 70}. `folder`: of the series' files, where Slicer's database does not have them. How the
        factors were found is in the node's description. Raises ValueError that names what is missing.
        """
        from DiffusionReconLib.modalities.pet.uptake import makeSUV

        return makeSUV(volumeNode, kind, given, str(folder))

    def trainPrior(
        self, data: str | Path, name: str, folder: str | Path = "", progress: Any = None, wait: bool = True,
        **settings: Any,
    ) -> Any:
        """Train a prior on the volumes below the folder `data`; returns the path of its card, for settings["prior"].

        `folder`: where it is kept (by default with the other trained priors). `settings`: unit, heldOut, steps or
        minutes, size, sees, flip, augment, startFrom, files, seed, device, processes, see
        DiffusionReconLib.jobs.training_request.
        `progress` is called with each message of the engine and cancels by returning False. Called again after a
        cancel it goes on from the last checkpoint. `wait=False` returns the running training at once, to be polled
        and closed. Raises ValueError for unusable input, TrainingCancelled, or RuntimeError.
        """
        from DiffusionReconLib.jobs.trained_priors import defaultFolder, rememberFolder
        from DiffusionReconLib.jobs.training_request import requestOf

        request = requestOf(str(data), str(folder or defaultFolder()), name, settings)
        training = self.startTraining(request)
        if not wait:
            return training
        try:
            training.wait(progress)
        finally:
            training.close()
        rememberFolder(Path(request.out))
        return training.card

    def startTraining(self, request: Any, forecastOnly: bool = False) -> Any:
        """Start what a `TrainingRequest` asks for, or only measure what it would take; raises ValueError at once."""
        from DiffusionReconLib.jobs.training_job import Training
        from DiffusionReconLib.setup.setup_steps import requirePackages

        (request.checkData if forecastOnly else request.check)()
        requirePackages(training=True)
        return Training(request, forecastOnly)

    def makeSyntheticChest(self) -> Any:
        """Add the engine's synthetic chest CT to the scene and return its node."""
        from diffusion_engine.phantoms.chest import synthetic_chest
        from DiffusionReconLib.scene.volumes import nodeFromVolume

        volume, _masks = synthetic_chest()
        node = nodeFromVolume(volume, "SyntheticChestCT")
        node.CreateDefaultDisplayNodes()
        return node

    def makeSyntheticTorso(self) -> tuple[Any, Any]:
        """Add the engine's synthetic torso with FDG to the scene; returns the nodes of its PET (Bq/mL) and its CT."""
        from DiffusionReconLib.setup.sample_data import addTorso

        return addTorso()

    def _run(self, request: Any, progress: Any) -> dict[str, Any]:
        reconstruction = self.startRequest(request)
        try:
            reconstruction.wait(progress)
            return self.publish(reconstruction, request.inputNode, request.folderName)
        finally:
            reconstruction.close()


class DiffusionReconWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, its sections in DiffusionReconLib/panel. Without `runner`, the first Apply sets the engine up."""

    def __init__(self, parent: Any = None, runner: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._runner = runner
        self._parameters = None
        self._guiTag = None
        self._observed: list[Any] = []
        self._goingInput: Any = None

    def setup(self) -> None:
        """Build the panel from its .ui file and connect it; in a Slicer that is too old, say so instead."""
        forgetLibraries()
        from DiffusionReconLib.setup.version import tooOld

        ScriptedLoadableModuleWidget.setup(self)
        reason = tooOld()
        if reason:
            self._refuse(reason)
            return
        from DiffusionReconLib.panel.panel import Panel
        from DiffusionReconLib.panel.part import namedWidgets
        from DiffusionReconLib.setup.setup_steps import SlicerInstaller

        content = slicer.util.loadUI(self.resourcePath("UI/DiffusionRecon.ui"))
        self.layout.addWidget(content)
        self.ui = namedWidgets(content, self.resourcePath("UI/DiffusionRecon.ui"))
        content.setMRMLScene(slicer.mrmlScene)
        self.logic = DiffusionReconLogic(self._runner)
        self.panel = Panel(self.ui, self.logic, SlicerInstaller() if self._runner is None else None)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._sceneStartsToClose)
        self.addObserver(scene, scene.StartImportEvent, self._sceneStartsToImport)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._nodeGoes)
        # Only then do the selectors list the nodes that are there now; they hear of it first.
        self.addObserver(scene, scene.NodeRemovedEvent, self._nodeIsGone, priority=-1.0)
        self.addObserver(scene, scene.EndBatchProcessEvent, self._sceneIsOther, priority=-1.0)
        self.setParameters(self.logic.getParameterNode())

    def cleanup(self) -> None:
        """End a running reconstruction when the panel goes away."""
        if self.panel is not None:
            self.setParameters(None)
            self.removeObservers()
            self.panel.close()

    def enter(self) -> None:
        """The panel is shown: make sure that it has parameters."""
        if self.panel is None:
            return
        if self._parameters is None:
            self.setParameters(self.logic.getParameterNode())
        self._chooseFirstVolume()
        self.panel.update()

    def setParameters(self, parameters: Any) -> None:
        """Show another parameter node's settings (a `ReconParameters`); None shows none."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._guiTag)
            self.removeObserver(self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._changed)
        self._parameters = parameters
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._changed)
            self._chooseFirstVolume()
        self._observeInputs()
        self.panel.setParameters(parameters)

    def _refuse(self, reason: str) -> None:
        """Show one sentence in place of the panel."""
        import qt

        label = qt.QLabel(reason)
        label.objectName = "refusalLabel"
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)

    def _chooseFirstVolume(self) -> None:
        """Without an input choose the scene's first volume, as Slicer's own modules do: the selector stays at none."""
        from DiffusionReconLib.scene.volumes import firstVolume

        if self._parameters.inputVolume is None:
            self._parameters.inputVolume = firstVolume()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeGoes(self, _caller: Any, _event: Any, node: Any) -> None:
        if self._parameters is not None and node is self._parameters.inputVolume:
            self._goingInput = node

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeIsGone(self, _caller: Any, _event: Any, node: Any) -> None:
        """Where the input was removed the selector takes any other node: never a result of this module's own."""
        from DiffusionReconLib.scene.volumes import firstVolume, isOwn

        if self._goingInput is None or node is not self._goingInput:
            return
        self._goingInput = None
        if self._parameters is not None:
            instead = self._parameters.inputVolume
            if instead is None or isOwn(instead):
                self._parameters.inputVolume = firstVolume()

    def _changed(self, *_caller: Any) -> None:
        self._observeInputs()
        self.panel.update()

    def _inputChanged(self, *_caller: Any) -> None:
        self.panel.update()

    def _observeInputs(self) -> None:
        """Follow the image of the input and the place of the region, wherever they are changed."""
        parameters = self._parameters
        wanted = [] if parameters is None else [node for node in (parameters.inputVolume, parameters.region) if node]
        if wanted == self._observed:
            return
        for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
            for node in self._observed:
                self.removeObserver(node, event, self._inputChanged)
            for node in wanted:
                self.addObserver(node, event, self._inputChanged)
        self._observed = wanted

    def _sceneStartsToClose(self, *_caller: Any) -> None:
        self.panel.sceneClosing()
        self.setParameters(None)

    def _sceneStartsToImport(self, *_caller: Any) -> None:
        self.setParameters(None)

    def _sceneIsOther(self, *_caller: Any) -> None:
        """The scene was closed, or another one was loaded."""
        if self._parameters is None:
            self.setParameters(self.logic.getParameterNode())


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
        from DiffusionReconLib.scene.volumes import nodeFromVolume, volumeFromNode

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

"""The panel: its sections, and what flows between them. No array, no mathematics."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.jobs.pythoncall import pythonCall
from DiffusionReconLib.jobs.runs import Request
from DiffusionReconLib.jobs.settings import engineSettings
from DiffusionReconLib.modalities.contract import Modality
from DiffusionReconLib.panel.advanced import AdvancedPart
from DiffusionReconLib.panel.inputs import InputsPart
from DiffusionReconLib.panel.method import MethodPart
from DiffusionReconLib.panel.review import ReviewPart
from DiffusionReconLib.panel.run import RunPart
from DiffusionReconLib.panel.train import TrainPart
from DiffusionReconLib.scene.volumes import firstVolume
from DiffusionReconLib.setup.setup_steps import Installer


class Panel:
    """All sections on one set of parameters."""

    def __init__(self, ui: Any, logic: Any, installer: Installer | None) -> None:
        self.inputs = InputsPart(ui, self.update)
        self.method = MethodPart(ui, self._modality, self.inputs.suggestion)
        self.advanced = AdvancedPart(ui, self._modality, self.pythonCall)
        self.review = ReviewPart(ui)
        self.train = TrainPart(
            ui, logic, self.method.priors, self.advanced.appendLog, self._trained,
        )
        self.run = RunPart(
            ui, logic, self.request, self.notReady, self._published, self.advanced.appendLog, installer
        )
        self.parts = (self.inputs, self.method, self.advanced, self.review, self.train, self.run)
        self.parameters: Any = None
        self._updating = False
        _alignLabels(ui)

    def setParameters(self, parameters: Any) -> None:
        """Work on another parameter node; None while the scene is closed."""
        self.parameters = parameters
        for part in self.parts:
            part.setParameters(parameters)
        self.update()

    def update(self) -> None:
        """Show the parameters in every section."""
        if self.parameters is None or self._updating:
            return
        self._updating = True
        try:
            for part in self.parts:
                part.update()
            self._estimate()
        finally:
            self._updating = False

    def notReady(self) -> str:
        """Why nothing can be run, "" when it can."""
        reason = self.inputs.notReady() or self.method.notReady()
        if reason:
            return reason
        try:
            self.settings()
        except ValueError as error:
            return str(error)
        return ""

    def settings(self) -> dict[str, Any]:
        """The engine's settings for what the panel shows; raises ValueError."""
        return engineSettings(self.parameters, self.inputs.scan(), self.method.prior, *self.inputs.extent())

    def request(self) -> Request:
        """The run that the panel shows; raises ValueError with the reason when there is none."""
        reason = self.notReady()
        if reason:
            raise ValueError(reason)
        node, measured = self.inputs.inputNode(), self.inputs.measured()
        files = measured.files if measured is not None else None
        return Request(self.settings(), node, files, self.parameters.folderName, beside=self.inputs.volumes())

    def pythonCall(self) -> str:
        """The same run as Python source; raises ValueError when there is none."""
        request = self.request()
        inputID = request.inputNode.GetID() if request.inputNode is not None else None
        beside = {setting: each.GetID() for setting, each in request.beside.items()}
        return pythonCall(request.settings, inputID, request.measured, request.folderName, beside)

    def sceneClosing(self) -> None:
        """The scene's nodes are about to go."""
        self.run.sceneClosing()
        self.review.sceneClosing()

    def close(self) -> None:
        """End everything that goes on."""
        for part in self.parts:
            part.close()

    def _modality(self) -> Modality:
        return self.inputs.shown

    def _estimate(self) -> None:
        """The line about what Apply will do, or why it can do nothing."""
        reason = self.notReady()
        if reason:
            self.method.showReason(reason)
            return
        settings = self.settings()
        shape, pixelMm = self.inputs.shape()
        if shape is None:
            self.method.showReason(_("How long it takes is said when the run has begun."))
            return
        if settings.get("slices") is not None:
            first, last = settings["slices"]
            shape = (last - first, *shape[1:])
        self.method.showEstimate(settings, shape, pixelMm, self.inputs.measured() is None)

    def _published(self, request: Request, nodes: dict[str, Any]) -> None:
        from DiffusionReconLib.scene.results import resultReport

        report = resultReport(nodes)
        images = [node for node in nodes.values() if node.IsA("vtkMRMLScalarVolumeNode")]
        if images:
            self.method.learn(report, images[0].GetImageData().GetDimensions()[2])
        if self.parameters is not None:
            if self.parameters.inputVolume in images:  # a selector whose list was empty takes what comes
                self.parameters.inputVolume = firstVolume()
            self.review.show(nodes)
            self.update()
        self.advanced.appendLog([_("Result: {name}").format(name=nodes["report"].GetName())])

    def _trained(self) -> None:
        self.method.forgetCards()
        self.update()


def _alignLabels(ui: Any) -> None:
    """One column of labels down the panel, though its sections are forms of their own."""
    labels = [part for name, part in vars(ui).items() if name.endswith("Label") and hasattr(ui, name[: -len("Label")])]
    width = max(label.sizeHint.width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)

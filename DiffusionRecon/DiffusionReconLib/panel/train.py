"""Train a model: from a folder of volumes to an entry of the selector, with forecast, curves and a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
from diffusion_engine.priors.card import NEIGHBOURS, SLICE, VOLUME
from diffusion_engine.training.units import UNITS
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.failures import isGone, sentenceOf
from DiffusionReconLib.jobs.trained_priors import rememberedRequest, rememberFolder, rememberRequest
from DiffusionReconLib.jobs.training_job import Training, TrainingCancelled, forecastText, progressLine
from DiffusionReconLib.jobs.training_request import CARD, CHECKPOINT, LOG, TrainingRequest, signs
from DiffusionReconLib.panel.curves import CurvesOnLabel
from DiffusionReconLib.panel.last import placeLast
from DiffusionReconLib.panel.part import Choices, Part, onPathEdited, setText

UI_FILE = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "TrainPrior.ui"
POLL_MILLISECONDS = 200
# Slicer has its translations before it reads any module, and takes another language at its next start only.
SIZE_TITLES = (("small", _("Small (2.7 million weights)")), ("medium", _("Medium (6.9 million)")),
               ("large", _("Large (35 million)")))
SEES_TITLES = ((SLICE, _("A slice")), (NEIGHBOURS, _("A slice with its neighbours")), (VOLUME, _("A volume")))
MARGINS = 12
"""In pixels: the curves are as wide as the section without them."""


class TrainPart(Part):
    """The section Train a model; `logic` trains, `priors` gives cards by the name to load them with.

    `log` gets what the engine printed, `trained` is called once a new trained model is there.
    """

    def __init__(
        self, ui: Any, logic: Any, priors: Callable[[str], list[tuple[str, str]]], log: Callable[[list[str]], None],
        trained: Callable[[], None],
    ) -> None:
        _place(ui)
        super().__init__(ui)
        self._logic, self._priors, self._log, self._trained = logic, priors, log, trained
        self._training: Training | None = None
        self._leaving: list[Training] = []
        self._cancelling = False
        self._quiet = True
        self._curves = CurvesOnLabel(ui.trainCurvesLabel)
        self._unit, self._size, self._sees, self._origin = next(iter(UNITS)), "", SLICE, ""
        self._chosen = {
            "_unit": Choices(ui.trainUnitComboBox, lambda name: self._choose("_unit", name)),
            "_size": Choices(ui.trainSizeComboBox, lambda name: self._choose("_size", name)),
            "_sees": Choices(ui.trainSeesComboBox, lambda name: self._choose("_sees", name)),
            "_origin": Choices(ui.trainOriginComboBox, lambda name: self._choose("_origin", name)),
        }
        self._chosen["_unit"].fill((unit, f"{unit} ({rule.modality.upper()})") for unit, rule in UNITS.items())
        self._chosen["_sees"].fill(SEES_TITLES)
        self._show(rememberedRequest())
        for edit in (ui.trainDataPathEdit, ui.trainFolderPathEdit):
            onPathEdited(edit, self._edited)
        for edit in (ui.trainFilesEdit, ui.trainHeldOutEdit, ui.trainNameEdit):
            edit.connect("textChanged(QString)", self._edited)
        for box in (ui.trainStepsSpinBox, ui.trainMinutesSpinBox):
            box.connect("valueChanged(int)", self._edited)
        for check in (ui.trainFlipCheckBox, ui.trainAugmentCheckBox):
            check.connect("toggled(bool)", self._edited)
        ui.trainForecastButton.connect("clicked(bool)", self.forecast)
        ui.trainStartButton.connect("clicked(bool)", self.startOrCancel)
        ui.trainContinueButton.connect("clicked(bool)", self.goOn)
        for name in ("Forecast", "Hint", "Status", "Warning", "Curves"):
            setText(getattr(ui, f"train{name}Label"), "")
        ui.trainProgressBar.setVisible(False)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)
        self._quiet = False

    @property
    def busy(self) -> bool:
        """Whether a training or a forecast goes on, or a process of an ended one has not left yet."""
        return self._training is not None or bool(self._leaving)

    def request(self) -> TrainingRequest:
        """What the section shows; device and seed are those under Advanced."""
        ui = self.ui
        return TrainingRequest(
            data=ui.trainDataPathEdit.currentPath.strip(), out=ui.trainFolderPathEdit.currentPath.strip(),
            name=ui.trainNameEdit.text.strip(), unit=self._unit, files=ui.trainFilesEdit.text.strip() or "*",
            heldOut=tuple(part.strip() for part in ui.trainHeldOutEdit.text.split(",") if part.strip()),
            startFrom=self._origin, size=self._size, sees=self._sees,
            flip=bool(ui.trainFlipCheckBox.checked), augment=bool(ui.trainAugmentCheckBox.checked),
            steps=int(ui.trainStepsSpinBox.value), minutes=float(ui.trainMinutesSpinBox.value),
            seed=int(self.parameters.seed) if self.parameters is not None else 0,
            device=self.parameters.device if self.parameters is not None else "auto",
        )

    def forecast(self) -> None:
        """Measure a step and say what the training will take."""
        if self._training is None:
            setText(self.ui.trainForecastLabel, _("Measuring a step..."))
            self._begin(self.request(), forecastOnly=True)
        self.update()

    def startOrCancel(self) -> None:
        """Start, or go on from a checkpoint of the same settings; while one goes on, cancel it."""
        if self._training is not None:
            self._cancelling = True
            self._training.cancel()
            setText(self.ui.trainStatusLabel, _("Cancelling..."))
        else:
            self._begin(self.request())
        self.update()

    def goOn(self) -> None:
        """Continue the training of this name with the settings that it was begun with."""
        shown = self.request()
        begun = shown.begun()
        if self._training is None and begun is not None:
            self._show(begun)
            self._begin(replace(begun, device=shown.device))
        self.update()

    def update(self) -> None:
        """What can be pressed, why not, and the curves of the training of this name."""
        ui, running = self.ui, self._training is not None
        self._chosen["_origin"].fill(self._origins())
        asItIs = _("As that model's") if self._origin else _("Small (2.7 million weights)")
        self._chosen["_size"].fill([("", asItIs), *SIZE_TITLES[0 if self._origin else 1:]])
        for field, choices in self._chosen.items():
            choices.show(getattr(self, field))
        request = self.request()
        reason = self._reason(request.check)
        begun = request.begun()
        start = ui.trainStartButton
        start.text = _("Cancel") if running else _("Start")
        start.enabled = not self._cancelling if running else not reason
        start.toolTip = _("Stop; the last checkpoint is kept") if running else reason or _("Train with these settings")
        finished = begun is not None and request.has(CARD)
        ui.trainContinueButton.enabled = not running and begun is not None and not finished
        ui.trainContinueButton.toolTip = (
            _("Go on with '{name}' from its last checkpoint, with its settings").format(name=request.name)
            if ui.trainContinueButton.enabled else _("There is no checkpoint of this name to continue"))
        lacking = self._reason(request.checkData)
        ui.trainForecastButton.enabled = not running and not lacking
        ui.trainProgressBar.setVisible(running)
        hint = reason
        if finished:
            hint = _("'{name}' is trained; another one needs another name.").format(name=request.name)
        elif not reason and request.has(CHECKPOINT):
            hint = _("There is a checkpoint of '{name}': Start goes on from it.").format(name=request.name)
        elif not reason and not request.heldOut:
            hint = _("Hold a case out to see how well new images are denoised and whether training images are merely "
                     "remembered.")
        setText(ui.trainHintLabel, "" if running else hint)
        self._drawCurves(request if not running else self._training.request)

    def close(self) -> None:
        """End a training; its checkpoint stays."""
        self._timer.stop()
        ending = [*self._leaving, *([self._training] if self._training is not None else [])]
        self._leaving, self._training = [], None
        for each in ending:
            each.close()

    def _begin(self, request: TrainingRequest, forecastOnly: bool = False) -> None:
        self._cancelling = False
        setText(self.ui.trainWarningLabel, "")
        try:
            self._training = self._logic.startTraining(request, forecastOnly)
        except Exception as error:
            setText(self.ui.trainForecastLabel, "")
            setText(self.ui.trainStatusLabel, sentenceOf(error), True)
            return
        if not forecastOnly:
            rememberRequest(request)
        setText(self.ui.trainStatusLabel, _("Reading the volumes..."))
        self.ui.trainProgressBar.setRange(0, 0)  # it moves until the first step tells how far
        self._timer.start()

    def _poll(self) -> None:
        for left in [each for each in self._leaving if isGone(each)]:
            self._leaving.remove(left)
            left.close()
        training = self._training
        if training is not None:
            for message in training.poll():
                self._message(message)
            if training.finished:
                self._finish(training)
            else:
                self._drawCurves(training.request)
        if not self.busy:
            self._timer.stop()

    def _message(self, message: dict[str, Any]) -> None:
        ui = self.ui
        if message["event"] == "forecast":
            setText(ui.trainForecastLabel, forecastText(message))
            self._quiet = True
            ui.trainStepsSpinBox.value, ui.trainMinutesSpinBox.value = message["steps"], 0
            self._quiet = False
        elif message["event"] == "progress" and not self._cancelling:
            last = message["step"] >= message["total"]
            ui.trainProgressBar.setRange(0, 0 if last else 100)
            ui.trainProgressBar.value = round(100 * message["fraction"])
            setText(ui.trainStatusLabel, progressLine(message))

    def _finish(self, training: Training) -> None:
        self._training, self._cancelling = None, False
        self._leaving.append(training)
        self._log(training.logLines())
        label = self.ui.trainStatusLabel
        try:
            training.check()
        except TrainingCancelled as cancelled:
            setText(label, "" if training.forecastOnly else str(cancelled))
            if training.forecastOnly:
                setText(self.ui.trainForecastLabel, "")
        except Exception as error:
            setText(self.ui.trainForecastLabel, "" if training.forecastOnly else self.ui.trainForecastLabel.text)
            setText(label, sentenceOf(error), True)
        else:
            setText(label, "")
            if not training.forecastOnly:
                setText(label, _("Trained: '{name}' can be chosen as the trained model of {modality} now.").format(
                    name=training.request.name, modality=UNITS[training.request.unit].modality.upper()))
                rememberFolder(Path(training.request.out))
                self._trained()
        self.update()

    def _drawCurves(self, request: TrainingRequest) -> None:
        """Read the log and draw, when there is something new."""
        path = request.file(LOG) if request.name and request.out and request.has(LOG) else None
        entries = self._curves.draw(path, request.unit, self.ui.trainCollapsibleButton.width - MARGINS)
        if entries is not None:
            text, bad = signs(entries)
            setText(self.ui.trainWarningLabel, text, bad)

    def _show(self, request: TrainingRequest) -> None:
        """Show a request's settings."""
        ui, quiet = self.ui, self._quiet
        self._quiet = True
        ui.trainDataPathEdit.currentPath, ui.trainFolderPathEdit.currentPath = request.data, request.out
        ui.trainFilesEdit.text, ui.trainNameEdit.text = request.files, request.name
        ui.trainHeldOutEdit.text = ", ".join(request.heldOut)
        ui.trainStepsSpinBox.value, ui.trainMinutesSpinBox.value = request.steps, round(request.minutes)
        ui.trainFlipCheckBox.checked = request.flip
        ui.trainAugmentCheckBox.checked = request.augment
        self._unit, self._origin = request.unit, request.startFrom
        self._size = request.size if request.startFrom or request.size != "small" else ""
        self._sees = request.sees
        self._quiet = quiet

    def _choose(self, field: str, name: str) -> None:
        setattr(self, field, name)
        if field == "_origin":
            self._size = ""
        self._edited()

    def _origins(self) -> list[tuple[str, str]]:
        """What a training can start from: priors of its own unit first, then those of the others."""
        entries = [("", _("Nothing"))]
        for unit, rule in sorted(UNITS.items(), key=lambda item: item[0] != self._unit):
            other = "" if unit == self._unit else f" ({rule.modality.upper()})"
            entries += [(name, title + other) for name, title in self._priors(rule.modality)]
        if self._origin not in [name for name, _title in entries]:
            entries.append((self._origin, Path(self._origin).stem))
        return entries

    def _edited(self, *_value: Any) -> None:
        if not self._quiet:
            setText(self.ui.trainForecastLabel, "")
            if self._training is None:
                setText(self.ui.trainStatusLabel, "")
            self.update()

    def _reason(self, check: Callable[[], None]) -> str:
        try:
            check()
        except ValueError as error:
            return str(error)
        return ""


def _place(ui: Any) -> None:
    """Put the section below all others."""
    import ctk

    ui.trainCollapsibleButton = placeLast(ui, UI_FILE)
    for edit in (ui.trainDataPathEdit, ui.trainFolderPathEdit):
        edit.filters = ctk.ctkPathLineEdit.Dirs

"""Advanced: every method by name with its few parameters, device, seed, the doctor's line, the call as Python."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import qt
from diffusion_engine.solvers.listing import Listed, Option, listed_couplings, listed_methods
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.settings import BALANCE_OPTION, broughtOptions, chosenMethod, storedOptions
from DiffusionReconLib.modalities.contract import Modality
from DiffusionReconLib.panel.part import Choices, Part, setText

SPREADS = {
    "posterior": _("its spread is an error bar under the trained model"),
    "near-posterior": _("its spread is near the posterior's, but no error bar"),
    "concentrated": _("its spread is no error bar, mostly narrower than the true error"),
    "point": _("it gives one image, no spread"),
}
OPTION_TITLES = {"sigma_end": _("last noise level"), "levels": _("noise levels"), "prior_steps": _("model steps"),
                 "prior_span": _("model span")}
"""What a method's parameters are called where their names do not say it."""
LARGEST = 1e6
"""Bound of the editors of parameters that have none themselves."""
DEVICES = (("auto", _("Automatic")), ("cpu", _("CPU")), ("cuda", _("GPU (CUDA)")))
PRECISIONS = (("auto", _("Automatic")), ("float32", _("32 bits")), ("bfloat16", _("16 bits (bfloat16)")))


class AdvancedPart(Part):
    """The section Advanced; `modality` gives the one to reconstruct, `call` the present run as Python source."""

    def __init__(self, ui: Any, modality: Callable[[], Modality], call: Callable[[], str]) -> None:
        super().__init__(ui)
        self._modality, self._call = modality, call
        self._solver = Choices(ui.solverComboBox, lambda name: self.store("solver", name))
        self._device = self.choices("deviceComboBox", "device")
        self._device.fill(DEVICES)
        self._precision = self.choices("precisionComboBox", "precision")
        self._precision.fill(PRECISIONS)
        self._coupling = self.choices("couplingComboBox", "coupling")
        self._coupling.fill((name, title[:1].upper() + title[1:]) for name, title in listed_couplings().items())
        self._built: Listed | None = None
        ui.optionsWidget.setVisible(False)
        self._editors: dict[str, tuple[Any, Option]] = {}
        self._doctor: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(100)
        self._timer.connect("timeout()", self._pollDoctor)
        ui.logTextEdit.setVisible(False)
        ui.doctorButton.connect("clicked(bool)", self.lookUpDevice)
        ui.copyPythonButton.connect("clicked(bool)", self._copy)

    def update(self) -> None:
        """Show the parameters."""
        methods = listed_methods(self._modality().name)
        self._solver.fill([("", _("The preset's")), *((name, method.title) for name, method in methods.items())])
        self._solver.show(self.parameters.solver)
        self._device.show(self.parameters.device)
        self._precision.show(self.parameters.precision)
        self._coupling.show(self.parameters.coupling)
        method, trouble = None, ""
        try:
            method = chosenMethod(self.parameters, self._modality().name)
        except ValueError as error:
            trouble = str(error)
        if method is None:
            setText(self.ui.solverLabel, trouble or _("Classical methods alone."), bool(trouble))
        else:
            setText(self.ui.solverLabel, _("{title}: {purpose}; {spread}. {source}").format(
                title=method.title, purpose=method.purpose, spread=SPREADS[method.spread], source=method.source))
        self._build(method)
        known = {option.name for option in method.options} if method else set()
        self.ui.balanceSlider.enabled = BALANCE_OPTION in known
        for widget in ("stepsSpinBox", "sigmaStartSpinBox", "precisionComboBox", "couplingComboBox"):
            getattr(self.ui, widget).enabled = method is not None
        self._showOptions(method)

    def appendLog(self, lines: list[str]) -> None:
        """Add lines to the log, which is shown once it has some."""
        for line in lines:
            self.ui.logTextEdit.appendPlainText(line)
        if lines:
            self.ui.logTextEdit.setVisible(True)

    def lookUpDevice(self) -> None:
        """Ask in the background what runs where."""
        from DiffusionReconLib.setup.doctor import Doctor

        if self._doctor is None:
            self._doctor = Doctor()
            setText(self.ui.doctorLabel, _("Looking it up..."))
            self._timer.start()

    def close(self) -> None:
        """End what runs in the background."""
        self._timer.stop()
        if self._doctor is not None:
            self._doctor.close()
            self._doctor = None

    def _pollDoctor(self) -> None:
        line = self._doctor.poll()
        if line is not None:
            self._timer.stop()
            self._doctor = None
            setText(self.ui.doctorLabel, line)

    def _copy(self) -> None:
        try:
            text = self._call()
        except ValueError as error:
            self.appendLog([str(error)])
            return
        qt.QApplication.clipboard().setText(text)
        self.appendLog([_("Copied:"), text])

    def _build(self, method: Listed | None) -> None:
        """Make an editor for each parameter of a method, unless they are there with the same defaults."""
        if method == self._built:
            return
        self._built = method
        layout = self.ui.optionsWidget.layout()
        while layout.rowCount():
            layout.removeRow(0)
        self._editors = {}
        for option in method.options if method else ():
            editor = None if option.name == BALANCE_OPTION else self._editor(option)
            if editor is not None:
                layout.addRow(OPTION_TITLES.get(option.name, option.name.replace("_", " ")) + ":", editor)
                layout.labelForField(editor).setMinimumWidth(self.ui.stepsSpinBoxLabel.minimumWidth)
                self._editors[option.name] = (editor, option)
        self.ui.optionsWidget.setVisible(bool(self._editors))

    def _editor(self, option: Option) -> Any:
        tip = _("Parameter '{name}' of the method; its default is {default}").format(
            name=option.name, default=option.default)
        low, high = (min(max(bound, -LARGEST), LARGEST) for bound in (option.low, option.high))
        if isinstance(option.default, bool):
            editor = qt.QCheckBox()
            editor.connect("toggled(bool)", lambda on: self._setOption(option, bool(on)))
        elif isinstance(option.default, int):
            editor = qt.QSpinBox()
            editor.setRange(math.ceil(low), math.floor(high))
            editor.connect("valueChanged(int)", lambda value: self._setOption(option, int(value)))
        elif isinstance(option.default, float):
            editor = qt.QDoubleSpinBox()
            # As many places as its smallest value needs.
            editor.setDecimals(max(4, math.ceil(-math.log10(low))) if low > 0 else 4)
            editor.setRange(low, high)
            editor.setSingleStep(max(abs(option.default) / 10, 1e-4))
            editor.connect("valueChanged(double)", lambda value: self._setOption(option, float(value)))
        else:
            return None  # a text or an optional number: from Python only
        editor.toolTip = tip
        return editor

    def _showOptions(self, method: Listed | None) -> None:
        chosen: dict[str, Any] = {}
        if method is not None:
            chosen = {**broughtOptions(self.parameters), **storedOptions(self.parameters).get(method.name, {})}
        for name, (editor, option) in self._editors.items():
            value = chosen.get(name, option.default)
            editor.blockSignals(True)
            if isinstance(option.default, bool):
                editor.checked = bool(value)
            else:
                editor.value = value
            editor.blockSignals(False)

    def _setOption(self, option: Option, value: Any) -> None:
        if self.parameters is None or self._built is None:
            return
        options = storedOptions(self.parameters)
        own = options.setdefault(self._built.name, {})
        if value == broughtOptions(self.parameters).get(option.name, option.default):
            own.pop(option.name, None)
        else:
            own[option.name] = value
        if not own:
            options.pop(self._built.name)
        self.store("solverOptions", json.dumps(options))

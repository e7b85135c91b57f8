"""Inputs: where the measurement comes from, its acquisition, and which part to reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.jobs.extent import slicesOfMeasured
from DiffusionReconLib.jobs.failures import sentenceOf
from DiffusionReconLib.modalities import table
from DiffusionReconLib.modalities.contract import MeasuredSummary, Modality, Suggestion, presetOf
from DiffusionReconLib.panel.acquisition import AcquisitionPart
from DiffusionReconLib.panel.extent import Extent, ExtentPart
from DiffusionReconLib.panel.part import Choices, Part, setText
from DiffusionReconLib.panel.tones import PLAIN, toneColour
from DiffusionReconLib.scene.volumes import (
    MODALITY_ATTRIBUTE,
    PREVIEW,
    RESULT_ATTRIBUTE,
    checkedMatrix,
    dicomBodyPart,
    dicomModality,
    unitOfNode,
)

CUSTOM = "custom"


class InputsPart(Part):
    """The section Inputs; `changed` is called when the view that is followed shows another slice, or a volume's
    modality was confirmed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        super().__init__(ui)
        self._changed = changed
        ui.modalityQuestionLabel.connect("linkActivated(QString)", self._confirm)
        self._source = self.choices("sourceComboBox", "source")
        self._source.fill([("volume", _("Simulate a scan of a volume")), ("measured", _("Measured data"))])
        self._modality = self.choices("modalityComboBox", "modality")
        self._modality.fill((modality.name, modality.title) for modality in table.MODALITIES.values())
        self._scan = Choices(ui.acquisitionPresetComboBox, self._takePreset)
        self._acquisitions = {
            name: AcquisitionPart(ui, modality, ui.acquisitionPlace, changed)
            for name, modality in table.MODALITIES.items()
        }
        self._extent = ExtentPart(ui, changed)
        self._looked: tuple[Any, ...] | None = None
        self._summary: MeasuredSummary | None = None
        self._trouble = ""
        self._guessed: str | None = None
        self._proven = True

    @property
    def _measuring(self) -> bool:
        return self.parameters.source == "measured"

    @property
    def _asking(self) -> bool:
        """Whether the modality of the volume is a proposal that waits for an answer."""
        return not (self._measuring or self.parameters.modality or self._guessed is None or self._proven)

    @property
    def modality(self) -> Modality | None:
        """The modality that the parameters name, else the guess for the input; None when there is no telling.

        Measured data are read as those of the first modality unless another one is chosen.
        """
        name = self.parameters.modality or self._guessed or (next(iter(table.MODALITIES)) if self._measuring else "")
        return table.MODALITIES.get(name)

    @property
    def shown(self) -> Modality:
        """The modality, or the first one while there is nothing to tell it from."""
        return self.modality or next(iter(table.MODALITIES.values()))

    def inputNode(self) -> Any:
        """The volume to scan, None for measured data."""
        return None if self._measuring else self.parameters.inputVolume

    def measured(self) -> MeasuredSummary | None:
        """What the measured data hold, None for a volume or data that cannot be used."""
        return self._summary if self._measuring else None

    def extent(self) -> Extent:
        """Slices and region to reconstruct; raises ValueError when there are none."""
        if self._measuring:
            return slicesOfMeasured(self.parameters, self._sliceCount()), None
        return self._extent.extent(self.parameters.inputVolume, None)

    def scan(self) -> dict[str, Any]:
        """The engine's settings of the acquisition: measured data bring their own."""
        modality = self.shown
        settings = modality.measuredSettings if self._measuring else modality.scanSettings
        return {"modality": modality.name, **settings(self._acquisitions[modality.name].values)}

    def volumes(self) -> dict[str, Any]:
        """The further volumes that the run takes, by the engine's setting."""
        return self._acquisitions[self.shown.name].volumes()

    def shape(self) -> tuple[tuple[int, int, int] | None, tuple[float, float] | None]:
        """Slices, rows and columns of the whole image, and its pixels in mm (None where not known)."""
        if self._measuring:
            return self._summary.shape, None
        columns, rows, slices = self.parameters.inputVolume.GetImageData().GetDimensions()
        return (slices, rows, columns), self.parameters.inputVolume.GetSpacing()[:2]

    def suggestion(self) -> Suggestion | None:
        """The presets that the modality would take for this input, None without a usable one."""
        if self.notReady():
            return None
        modality = self.modality
        bodyPart = "" if self._measuring else dicomBodyPart(self.parameters.inputVolume)
        return modality.suggest(self._acquisitions[modality.name].values, self.measured(), bodyPart)

    def notReady(self) -> str:
        """Why nothing can be run yet, "" when it can."""
        if self._measuring:
            reason = self._trouble or ("" if self._summary else _("Choose a file of measured data first"))
        else:
            reason = self._volumeNotReady(self.parameters.inputVolume)
        if reason:
            return reason
        acquisition = self._acquisitions[self.shown.name]
        reason = self.shown.notReady(
            acquisition.values, self.inputNode(), self.measured(), acquisition.volumes())
        if reason:
            return reason
        try:
            self.extent()
        except ValueError as error:
            return str(error)
        return ""

    def _volumeNotReady(self, node: Any) -> str:
        if node is None:
            return _("Choose an input volume first")
        if node.GetAttribute(RESULT_ATTRIBUTE) == PREVIEW:  # what Slicer chooses where a run's input was removed
            return _("'{name}' is the preview of a run: choose another volume").format(name=node.GetName())
        try:
            checkedMatrix(node)
        except ValueError as error:
            return str(error)
        if self.modality is None:
            return _("Choose the modality: neither DICOM nor the unit of the volume tells it")
        if self._asking:
            return _("Confirm the modality of '{name}' first, or choose another one").format(name=node.GetName())
        return ""

    def setParameters(self, parameters: Any) -> None:
        """Work on another parameter node."""
        super().setParameters(parameters)
        for part in (*self._acquisitions.values(), self._extent):
            part.setParameters(parameters)

    def update(self) -> None:
        """Show the parameters."""
        measured, node = self._measuring, self.parameters.inputVolume
        self._source.show(self.parameters.source)
        self.ui.volumeGroup.setVisible(not measured)
        self._guessed, self._proven = (None, True) if measured else _guess(node)
        modality = self.modality
        self._modality.show(modality.name if modality else "")
        self.ui.modalityGroup.setVisible(len(table.MODALITIES) > 1 or (modality is None and node is not None))
        self._ask(node)
        setText(self.ui.purposeLabel, self.shown.purpose)
        # Without an input there is nothing to guess from: the first modality stands for what could be set.
        usable = self.shown if modality is not None or (not measured and node is None) else None
        self._updateScan(usable, measured)
        self._look(modality, measured)
        self._extent.show(node, measured, self._sliceCount())

    def close(self) -> None:
        """Follow nothing any more."""
        self._extent.close()

    def _sliceCount(self) -> int | None:
        if self._measuring:
            return self._summary.shape[0] if self._summary and self._summary.shape else None
        node = self.parameters.inputVolume
        return None if node is None or node.GetImageData() is None else node.GetImageData().GetDimensions()[2]

    def _updateScan(self, modality: Modality | None, measured: bool) -> None:
        for name, part in self._acquisitions.items():
            part.show(modality is not None and name == modality.name, measured)
        self.ui.acquisitionGroup.setVisible(modality is not None and not measured)
        if modality is None:
            return
        found = presetOf(modality, self._acquisitions[modality.name].values)
        titles = [(preset.name, preset.title) for preset in modality.presets]
        self._scan.fill([*titles, (CUSTOM, _("Custom"))] if found is None else titles)
        self._scan.show(found.name if found else CUSTOM)

    def _look(self, modality: Modality | None, measured: bool) -> None:
        """Look at measured data when other ones are named."""
        if not measured or modality is None:
            setText(self.ui.measuredSummaryLabel, "")
            return
        values = self._acquisitions[modality.name].values
        asked = (modality.name, *modality.sources(values))
        if asked != self._looked:
            self._looked, self._summary, self._trouble = asked, None, ""
            try:
                self._summary = modality.summarise(values)
            except (ValueError, OSError) as error:
                self._trouble = sentenceOf(error)
        lines, remarks = ((self._trouble,) if self._trouble else ()), ()
        if self._summary is not None:
            volumes = self._acquisitions[modality.name].volumes()
            lines, remarks = self._summary.lines, modality.remarks(self._summary, volumes)
        setText(self.ui.measuredSummaryLabel, "\n".join([*lines, *remarks]), bool(self._trouble or remarks))

    def _ask(self, node: Any) -> None:
        """Ask whether a volume of which nothing tells the modality is what is proposed, to be answered by one press."""
        if not self._asking:
            setText(self.ui.modalityQuestionLabel, "")
            return
        text = _("Is '{name}' {modality}? Neither DICOM nor a unit says so. Press here if it is, or choose another "
                 "modality above.").format(name=node.GetName(), modality=self.shown.title)
        colour = toneColour(self.ui.modalityQuestionLabel, PLAIN)  # a link's own may be unreadable
        link = f'<a href="{self._guessed}" style="color: {colour}">{escape(text, quote=False)}</a>'
        setText(self.ui.modalityQuestionLabel, link)

    def _confirm(self, name: str) -> None:
        """The volume is of this modality: it is known by it from now on, whatever else is chosen meanwhile."""
        if self.parameters is not None and self.parameters.inputVolume is not None:
            self.parameters.inputVolume.SetAttribute(MODALITY_ATTRIBUTE, name)
            self._changed()

    def _takePreset(self, name: str) -> None:
        modality = self.shown
        preset = next((each for each in modality.presets if each.name == name), None)
        if preset is not None and self.parameters is not None:
            self._acquisitions[modality.name].take(preset.values)


def _guess(node: Any) -> tuple[str | None, bool]:
    """The modality of a volume, None where neither DICOM nor its unit tells, and whether it is more than a proposal."""
    if node is None or node.GetImageData() is None:
        return None, True
    dicom, said = dicomModality(node), node.GetAttribute(MODALITY_ATTRIBUTE)
    if not dicom and said in table.MODALITIES:
        return said, True
    unit = "" if dicom else unitOfNode(node)
    return table.recognised(dicom, unit, node.GetName() or ""), table.proven(dicom, unit)

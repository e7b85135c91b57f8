"""The acquisition of PET in the panel: its parameters, its widgets, and the engine's settings that they mean.

Only Slicer (and the stand-in) has `slicer.parameterNodeWrapper`, so only the panel imports this file.
"""

# No `from __future__ import annotations`: Slicer reads the annotations of the pack.
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from diffusion_engine.modalities.pet.readings.formats import ENDINGS
from diffusion_engine.modalities.pet.scan import MAP_UNITS, TUBE_KVP
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from DiffusionReconLib.modalities.contract import Form
from DiffusionReconLib.modalities.pet.measured import MeasuredPET, Questions, measuredPET, questionsOf
from DiffusionReconLib.modalities.pet.suv_rows import SUVRows
from DiffusionReconLib.modalities.pet.values import ACTIVITY_UNITS, UnitRow
from DiffusionReconLib.scene.volumes import unitOfNode

MAP = "attenuation_map"
"""The engine's setting that names the file of a CT or an attenuation map."""
ORDERS = {
    2: ("angle,bin", "bin,angle"),
    3: ("slice,angle,bin", "angle,slice,bin", "slice,bin,angle", "bin,angle,slice", "angle,bin,slice",
        "bin,slice,angle"),
}
"""Orders of the axes that are offered, by their number."""


@parameterPack
class PETAcquisition:
    """A simulated acquisition, where a measured one is read from, and what of the patient a header may lack.

    0 and "" leave what is measured to the file, and the patient to the header. `denoise`: the volume is the low-count
    image itself, made of `counts`.
    """

    counts: Annotated[float, WithinRange(0.0001, 1000)] = 1.0
    denoise: bool = False
    backgroundPercent: Annotated[float, WithinRange(0, 1000)] = 30.0
    angles: Annotated[int, WithinRange(2, 10000)] = 180
    durationSeconds: Annotated[float, WithinRange(1, 100000)] = 180.0
    psfMm: Annotated[float, WithinRange(0, 50)] = 4.0
    attenuated: bool = True
    tubeKvp: str = "120"
    countsPath: str = ""
    descriptionPath: str = ""
    axisOrder: str = ""
    binMm: Annotated[float, WithinRange(0, 50)] = 0.0
    arcDegrees: Annotated[float, WithinRange(0, 720)] = 0.0
    sliceSpacingMm: Annotated[float, WithinRange(0, 100)] = 0.0
    measuredSeconds: Annotated[float, WithinRange(0, 1000000)] = 0.0
    countsPerBq: Annotated[float, WithinRange(0, 1000000)] = 0.0
    backgroundPath: str = ""
    survivalPath: str = ""
    negativeToZero: bool = False
    suvFolder: str = ""
    weightKg: Annotated[float, WithinRange(0, 400)] = 0.0
    heightM: Annotated[float, WithinRange(0, 2.8)] = 0.0
    sex: str = ""
    injectedMbq: Annotated[float, WithinRange(0, 100000)] = 0.0
    injectedAt: str = ""
    suvKind: str = "bw"


class PETRows:
    """The widgets of AcquisitionPET.ui: a simulated acquisition or a measured one's files, attenuation, and SUV."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._axes = form.choices("countsAxesComboBox", "axisOrder")
        self._tube = form.choices("tubeComboBox", "tubeKvp")
        self._tube.fill((str(kvp), _("{kvp} kVp").format(kvp=kvp)) for kvp in TUBE_KVP)
        files = " ".join(f"*{ending}" for ending in ENDINGS)
        arrays = [_("Counts (*.hs *.hdr *.npy *.npz *.mat)")]
        form.path("countsPathEdit", "countsPath", [_("PET counts ({files})").format(files=files)])
        form.path("countsDescriptionPathEdit", "descriptionPath", [_("Descriptions (*.json)")])
        form.path("backgroundPathEdit", "backgroundPath", arrays)
        form.path("survivalPathEdit", "survivalPath", arrays)
        form.nodes("attenuationSelector")
        self._units = UnitRow(form, "valueUnitComboBox", ACTIVITY_UNITS)
        self._mapUnits = UnitRow(form, "attenuationUnitComboBox", MAP_UNITS, MAP)
        self._suv = SUVRows(form)

    def update(self, values: Any, measured: bool) -> None:
        """Show the pack's values; of what a file may not say only the rows that belong to its kind."""
        form, ui = self._form, self._form.ui
        ui.countsGroup.setVisible(measured)
        ui.petDetailsCollapsibleButton.setVisible(not measured)
        asked = questionsOf(Path(values.countsPath)) if measured and values.countsPath else Questions()
        orders = list(ORDERS.get(asked.axes, ()))
        if values.axisOrder and values.axisOrder not in orders:
            orders.append(values.axisOrder)
        self._axes.fill([("", _("As described")), *((each, each.replace(",", ", ")) for each in orders)])
        self._axes.show(values.axisOrder)
        for widget, shown in (
            ("countsAxesComboBox", bool(asked.axes or values.axisOrder)), ("countsBinSpinBox", bool(asked.axes)),
            ("countsArcSpinBox", bool(asked.axes)), ("countsSpacingSpinBox", asked.axes > 2),
            ("countsDurationSpinBox", asked.factors), ("countsCalibrationSpinBox", asked.factors),
            ("backgroundPathEdit", asked.factors), ("survivalPathEdit", asked.factors),
        ):
            form.showRow(widget, shown)
        ui.negativeToZeroCheckBox.setVisible(asked.factors or values.negativeToZero)
        chosen, node = form.volume(MAP), None if measured else form.volume()
        unit = "" if chosen is None or chosen.GetImageData() is None else unitOfNode(chosen)
        self._units.update(node)
        self._mapUnits.update(chosen)
        self._tube.show(values.tubeKvp)
        form.showRow("tubeComboBox", unit == "HU")
        ui.attenuatedCheckBox.setVisible(not values.denoise)
        form.say("denoiseLabel", "" if measured or not values.denoise else _(
            "No scan is simulated: this volume is taken as the image of a scan of {counts:g} million true coincidences "
            "a slice, whose raw data are missing. Enter its counts under Acquisition details: the fewer, the less the "
            "image is believed. What it has lost stays lost."
        ).format(counts=values.counts))
        self._suv.update(values, node)


def scanSettings(values: Any) -> dict[str, Any]:
    """The engine's settings of the simulated acquisition."""
    return {
        "counts": float(values.counts), "background_percent": float(values.backgroundPercent),
        "angles": int(values.angles), "duration_s": float(values.durationSeconds),
        "attenuated": bool(values.attenuated), "denoise": bool(values.denoise), **measuredSettings(values),
    }


def measuredSettings(values: Any) -> dict[str, Any]:
    """What is said of measured counts too: the scanner's point spread, and the voltage of the tube of a CT."""
    return {"psf_mm": float(values.psfMm), "tube_kvp": int(values.tubeKvp)}


def notReady(values: Any, node: Any, measured: MeasuredPET | None, volumes: Mapping[str, Any]) -> str:
    """Why these values, a volume or counts, and a volume of attenuation cannot be used, "" when they can."""
    if node is not None and not unitOfNode(node).startswith(ACTIVITY_UNITS):
        return _("Choose under 'Values in' in which unit the values of '{name}' are, or make SUV of them below").format(
            name=node.GetName())
    chosen = volumes.get(MAP)
    if chosen is None:
        return ""
    if chosen.GetImageData() is None:
        return _("'{name}' holds no voxels: choose another volume of attenuation").format(name=chosen.GetName())
    if node is not None and chosen.GetID() == node.GetID():
        return _("'{name}' is the PET volume itself: choose a CT or a map of attenuation, or none").format(
            name=chosen.GetName())
    if node is not None and not values.attenuated:
        return _("The body is not to attenuate, but '{name}' is chosen as attenuation: choose none, or let it"
                 ).format(name=chosen.GetName())
    if measured is not None and measured.placed is False:
        return _("The counts do not say where in the patient they lie, so that '{name}' cannot be brought to them: "
                 "give ijk_to_ras in a description, or the survival of each bin").format(name=chosen.GetName())
    if unitOfNode(chosen) not in MAP_UNITS:
        return _("Choose under 'Its values' whether '{name}' is a CT in HU or attenuation in 1/mm").format(
            name=chosen.GetName())
    return ""


def remarksOf(summary: MeasuredPET, volumes: Mapping[str, Any]) -> tuple[str, ...]:
    """What does not look right about measured counts; that attenuation is not known where a volume of it is chosen."""
    answered = summary.attenuation if MAP in volumes else ()
    return tuple(sentence for sentence in summary.remarks if sentence not in answered)


def sources(values: Any) -> tuple[str, ...]:
    """The paths of the measured data and what is said of them."""
    return (values.countsPath, values.descriptionPath, *(f"{key}={said}" for key, said in answers(values).items()))


def answers(values: Any) -> dict[str, Any]:
    """What the panel's rows say of a file, by the keys of a description."""
    given: dict[str, Any] = {}
    if values.axisOrder:
        given["axes"] = values.axisOrder.split(",")
    for key, number in (
        ("bin_mm", values.binMm), ("arc_deg", values.arcDegrees), ("slice_spacing_mm", values.sliceSpacingMm),
        ("duration_s", values.measuredSeconds), ("counts_per_bq", values.countsPerBq),
    ):
        if number > 0:
            given[key] = float(number)
    for key, path in (("background", values.backgroundPath), ("attenuation", values.survivalPath)):
        if path:
            given[key] = path
    if values.negativeToZero:
        given["negative_to_zero"] = True
    return given


def summarise(values: Any) -> MeasuredPET | None:
    """What the measured data hold, None where no file is chosen; ValueError for what cannot be used."""
    if not values.countsPath:
        return None
    description = Path(values.descriptionPath) if values.descriptionPath else None
    return measuredPET(Path(values.countsPath), description, answers(values))

"""The acquisition of MRI in the panel: its parameters, its widgets, and the engine's settings that they mean.

Only Slicer (and the stand-in) has `slicer.parameterNodeWrapper`, so only the panel imports this file.
"""

# No `from __future__ import annotations`: Slicer reads the annotations of the pack.
from pathlib import Path
from typing import Annotated, Any

from diffusion_engine.modalities.mri.readings.formats import ENDINGS
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from DiffusionReconLib.modalities.contract import Form
from DiffusionReconLib.modalities.mri.measured import MeasuredMRI, Questions, measuredMRI, questionsOf

ORDERS = {
    2: (),
    3: ("coil,row,column", "row,column,coil", "coil,column,row", "column,row,coil", "slice,row,column",
        "row,column,slice", "partition,row,column", "row,column,partition"),
    4: ("slice,coil,row,column", "coil,slice,row,column", "row,column,coil,slice", "row,column,slice,coil",
        "column,row,coil,slice", "column,row,slice,coil", "coil,partition,row,column", "partition,coil,row,column",
        "row,column,partition,coil", "column,row,partition,coil"),
}
"""Orders of the axes that are offered, by their number; others stand in a description."""
PLANES = {"lines": (1, False), "plane": (2, False), "ellipse": (2, True)}
"""What is left out, by name: the engine's axes of undersampling and whether the corners are."""


@parameterPack
class MRIAcquisition:
    """A simulated acquisition, and where a measured one is read from with what its file does not say.

    0 and "" leave what is measured to the file; `axisOrder` names an array's axes, `measuredSamples` is "full" or
    "nonzero".
    """

    acceleration: Annotated[float, WithinRange(1, 32)] = 4.0
    pattern: str = "gaussian"
    plane: str = "lines"
    acsLines: Annotated[int, WithinRange(4, 512)] = 24
    coils: Annotated[int, WithinRange(1, 64)] = 8
    noisePercent: Annotated[float, WithinRange(0.01, 50)] = 1.0
    partialFourier: Annotated[float, WithinRange(0.55, 1)] = 1.0
    phaseRadians: Annotated[float, WithinRange(0, 30)] = 6.0
    kspacePath: str = ""
    descriptionPath: str = ""
    mapsPath: str = ""
    axisOrder: str = ""
    measuredSamples: str = ""
    pixelMm: Annotated[float, WithinRange(0, 20)] = 0.0
    oversampling: Annotated[float, WithinRange(0, 8)] = 0.0


class MRIRows:
    """The widgets of AcquisitionMRI.ui: what a simulated acquisition leaves out, or a measured one's files."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._pattern = form.choices("samplingComboBox", "pattern")
        self._pattern.fill([
            ("gaussian", _("Random, denser in the middle")), ("random", _("Random, evenly")),
            ("uniform", _("At even distances")), ("poisson", _("Poisson disc")),
        ])
        self._plane = form.choices("planeComboBox", "plane")
        self._plane.fill([
            ("lines", _("Lines (2D)")), ("plane", _("Points of two phase encodings (3D)")),
            ("ellipse", _("Points, without the corners")),
        ])
        self._axes = form.choices("axisOrderComboBox", "axisOrder")
        self._measured = form.choices("measuredSamplesComboBox", "measuredSamples")
        self._measured.fill([
            ("", _("As the file says")), ("nonzero", _("Those that are not zero")), ("full", _("All")),
        ])
        files = " ".join(f"*{ending}" for ending in ENDINGS)
        form.path("kspacePathEdit", "kspacePath", [_("K-space ({files})").format(files=files)])
        form.path("descriptionPathEdit", "descriptionPath", [_("Descriptions (*.json)")])
        form.path("mapsPathEdit", "mapsPath", [_("Coil maps (*.npy *.npz *.mat *.cfl *.hdr)")])

    def update(self, values: Any, measured: bool) -> None:
        """Show the pack's values; of what a file may not say only the rows that belong to its kind."""
        self._form.ui.kspaceGroup.setVisible(measured)
        self._form.ui.kspaceDetailsCollapsibleButton.setVisible(not measured)
        self._pattern.show(values.pattern)
        self._plane.show(values.plane)
        asked = questionsOf(Path(values.kspacePath)) if measured and values.kspacePath else Questions()
        orders = [each for each in ORDERS.get(asked.axes, ())]
        if values.axisOrder and values.axisOrder not in orders:
            orders.append(values.axisOrder)
        self._axes.fill([("", _("As described")), *((each, each.replace(",", ", ")) for each in orders)])
        self._axes.show(values.axisOrder)
        self._measured.show(values.measuredSamples)
        self._form.showRow("axisOrderComboBox", asked.axes > 2 or bool(values.axisOrder))
        self._form.showRow("measuredSamplesComboBox", asked.samples or bool(values.measuredSamples))
        self._form.showRow("mapsPathEdit", asked.maps or bool(values.mapsPath))
        self._form.showRow("pixelSpinBox", asked.known)
        self._form.showRow("oversamplingSpinBox", asked.known)


def scanSettings(values: Any) -> dict[str, Any]:
    """The engine's settings of the simulated acquisition; ValueError for a choice that this version does not have."""
    if values.plane not in PLANES:
        raise ValueError(_("This version has no undersampling of '{name}': choose another one.").format(
            name=values.plane))
    axes, elliptical = PLANES[values.plane]
    return {
        "acceleration": float(values.acceleration), "pattern": values.pattern, "axes": axes, "elliptical": elliptical,
        "acs_lines": int(values.acsLines), "coils": int(values.coils), "noise_percent": float(values.noisePercent),
        "phase_radians": float(values.phaseRadians), "partial_fourier": float(values.partialFourier),
    }


def sources(values: Any) -> tuple[str, ...]:
    """The paths of the measured data and what is said of them."""
    return (values.kspacePath, values.descriptionPath, *(f"{key}={said}" for key, said in answers(values).items()))


def answers(values: Any) -> dict[str, Any]:
    """What the panel's rows say of a file, by the keys of a description."""
    given: dict[str, Any] = {}
    if values.axisOrder:
        given["axes"] = values.axisOrder.split(",")
    if values.measuredSamples:
        given["mask"] = values.measuredSamples
    if values.mapsPath:
        given["maps"] = values.mapsPath
    if values.pixelMm > 0:
        given["pixel_mm"] = [float(values.pixelMm)] * 2
    if values.oversampling > 0:
        given["oversampling"] = float(values.oversampling)
    return given


def summarise(values: Any) -> MeasuredMRI | None:
    """What the measured data hold, None where no file is chosen; ValueError for what cannot be used."""
    if not values.kspacePath:
        return None
    description = Path(values.descriptionPath) if values.descriptionPath else None
    return measuredMRI(Path(values.kspacePath), description, answers(values))

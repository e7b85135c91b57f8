"""The panel's settings as a parameter node: saved with the scene, restored with it, one set for each node.

Only Slicer (and the stand-in) has `slicer.parameterNodeWrapper`, so only the panel imports this file.
"""

# No `from __future__ import annotations`: Slicer reads the annotations of the parameters.
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from DiffusionReconLib.modalities.contract import Modality
from DiffusionReconLib.modalities.table import MODALITIES


class CommonParameters:
    """The settings of every modality; choices are stored by their name, "" leaves a choice to the panel or the preset.

    Slices count from 0.
    """

    # Inputs
    source: str = "volume"
    inputVolume: vtkMRMLScalarVolumeNode
    modality: str = ""
    extent: str = "middle"
    sliceCount: Annotated[int, WithinRange(1, 10000)] = 8
    firstSlice: Annotated[int, WithinRange(0, 100000)] = 0
    lastSlice: Annotated[int, WithinRange(0, 100000)] = 7
    region: vtkMRMLMarkupsROINode
    # Method
    preset: str = "standard"
    draws: Annotated[int, WithinRange(1, 1000)] = 4
    prior: str = ""
    # Outputs
    folderName: str = ""
    keepUncertainty: bool = True
    keepNotSeen: bool = True
    keepResidual: bool = True
    keepPriorDecided: bool = True
    keepDataDisagree: bool = False
    keepPhase: bool = False
    keepDraws: bool = True
    # Advanced
    solver: str = ""
    solverOptions: str = "{}"
    steps: Annotated[int, WithinRange(0, 1000)] = 0
    balance: Annotated[float, WithinRange(-4, 4)] = 0.0
    sigmaStart: Annotated[float, WithinRange(0, 20)] = 0.0
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    device: str = "auto"
    precision: str = "auto"
    coupling: str = "none"
    slab: Annotated[int, WithinRange(1, 1000)] = 8
    trustUnit: bool = False
    # Review
    segmentation: vtkMRMLSegmentationNode
    resultID: str = ""


def parametersOf(modalities: Mapping[str, Modality]) -> type:
    """The class of parameter nodes with the pack of each modality under its name, and its further volumes."""
    packs = {name: modality.pack for name, modality in modalities.items()}
    volumes = {name: vtkMRMLScalarVolumeNode for modality in modalities.values() for name in modality.volumes.values()}
    kinds = {"__annotations__": {**packs, **volumes}}
    wrapped = parameterNodeWrapper(type("ReconParameters", (CommonParameters,), kinds))

    class ReconParameters(wrapped):
        """Every setting of the panel."""

        def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
            complete(parameterNode, packs, prefix or "")
            repair(parameterNode, packs, prefix or "")
            super().__init__(parameterNode, prefix)

    return ReconParameters


def complete(parameterNode: Any, packs: Mapping[str, type], prefix: str = "") -> None:
    """Give the parameter node of an older scene the members that its packs lack: Slicer asks for the first one alone.

    Before there were packs, the values of the first modality had their names alone.
    """
    first = next(iter(packs))
    for name, pack in packs.items():
        usual = pack()
        for member in pack.allParameters:
            place = f"{prefix}{name}.{member}"
            if parameterNode.HasParameter(place):
                continue
            former = parameterNode.GetParameter(prefix + member) if name == first else ""
            parameterNode.SetParameter(place, former or str(getattr(usual, member)))


def repair(parameterNode: Any, packs: Mapping[str, type], prefix: str = "") -> None:
    """Put the usual value in the place of each stored number that cannot be read, and say so in Slicer's log.

    A damaged scene, or one of another version, may bring such; Slicer makes no parameters at all of it.
    """
    for name in CommonParameters.__annotations__:
        _mend(parameterNode, prefix + name, vars(CommonParameters).get(name), lambda number: number)
    for name, pack in packs.items():
        for member in pack.allParameters:
            _mend(parameterNode, f"{prefix}{name}.{member}", getattr(pack(), member),
                  lambda number, pack=pack, member=member: pack(**{member: number}))


def _mend(parameterNode: Any, place: str, usual: Any, check: Callable[[Any], Any]) -> None:
    if not isinstance(usual, (int, float)) or isinstance(usual, bool) or not parameterNode.HasParameter(place):
        return
    try:
        check(type(usual)(parameterNode.GetParameter(place)))
    except (ValueError, OverflowError) as error:
        logging.warning("The setting '%s' of the scene cannot be read (%s): it is %s now, as usual.", place, error,
                        usual)
        parameterNode.SetParameter(place, str(usual))


ReconParameters = parametersOf(MODALITIES)

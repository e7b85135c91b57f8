"""The panel's settings as a parameter node: saved with the scene, restored with it, one set for each node.

Only Slicer (and the stand-in) has `slicer.parameterNodeWrapper`, so only the panel imports this file.
"""

from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

SOURCES = ("volume", "measured")
EXTENTS = ("middle", "current", "range", "all")


@parameterNodeWrapper
class ReconParameters:
    """Every setting of the panel; choices are stored by their name, "" leaves a choice to the panel or the preset."""

    # Inputs
    source: str = "volume"
    inputVolume: vtkMRMLScalarVolumeNode
    sinogramPath: str = ""
    geometryPath: str = ""
    modality: str = ""
    geometry: str = "parallel"
    views: Annotated[int, WithinRange(2, 10000)] = 60
    arcDegrees: Annotated[float, WithinRange(1, 360)] = 180.0
    noiseKind: str = "percent"
    noisePercent: Annotated[float, WithinRange(0.01, 50)] = 0.2
    photons: Annotated[float, WithinRange(10, 1e9)] = 1e5
    electronicStd: Annotated[float, WithinRange(0, 10000)] = 0.0
    extent: str = "middle"
    sliceCount: Annotated[int, WithinRange(1, 10000)] = 8
    firstSlice: Annotated[int, WithinRange(0, 100000)] = 0
    lastSlice: Annotated[int, WithinRange(0, 100000)] = 7
    region: vtkMRMLMarkupsROINode
    # Method
    preset: str = "standard"
    draws: Annotated[int, WithinRange(1, 1000)] = 4
    prior: str = "ct-body"
    # Outputs
    folderName: str = ""
    keepUncertainty: bool = True
    keepNotSeen: bool = True
    keepResidual: bool = True
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

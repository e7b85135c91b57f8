"""Between MRML volume nodes and the engine's `Volume`: same geometry, same unit, same parent transform.

The engine works in the volume's own frame: a parent transform is never hardened, the results get the same one. Arrays
go out right-handed (det(IJKToRAS) > 0), because Slicer's NRRD reader flips K of anything else.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import slicer
import slicer.util
import vtk
from diffusion_engine.volume import Volume, check_size
from slicer.i18n import tr as _

# Unit: (code, meaning) of the UCUM scheme, as Slicer's DICOM plugin writes them.
UNITS = {
    "HU": ("[hnsf'U]", "Hounsfield unit"),
    "1/mm": ("/mm", "per millimeter"),
    "SUV": ("{SUVbw}g/ml", "Standardized Uptake Value body weight"),
    "SUVlbm": ("{SUVlbm(Janma)}g/ml", "Standardized Uptake Value lean body mass (Janmahasatian)"),
    "SUVlbm_james": ("{SUVlbm(James128)}g/ml", "Standardized Uptake Value lean body mass (James 128)"),
    "SUVbsa": ("{SUVbsa}cm2/ml", "Standardized Uptake Value body surface area"),
    "SUVibw": ("{SUVibw}g/ml", "Standardized Uptake Value ideal body weight"),
    "Bq/mL": ("Bq/ml", "Becquerels/milliliter"),
    "a.u.": ("1", "no units"),
    "rad": ("rad", "radian"),
}
# Quantity: (code, scheme, meaning), where DICOM has one for the unit.
QUANTITIES = {
    "HU": ("112031", "DCM", "Attenuation Coefficient"),
    "SUV": ("126401", "DCM", "SUVbw"),
    "Bq/mL": ("110822", "DCM", "Radioactivity Concentration"),
}
# Of what modality a volume is, where it was reconstructed here or a user has said so.
MODALITY_ATTRIBUTE = "DiffusionPriors.Modality"
# What tells the volumes of a result from others: the key that each is known by in it.
RESULT_ATTRIBUTE = "DiffusionPriors.Result"
# The key of the estimate that is shown while a run goes on, and removed with its end.
PREVIEW = "preview"
BODY_PART_TAG = "0018,0015"
UNITS_TAG, SUV_TYPE_TAG = "0054,1001", "0054,1006"
# Units of stored PET values by DICOM's names; Slicer gives such volumes no coded unit.
STORED_UNITS = {"BQML": "Bq/mL", "GML": "SUV"}
# |cos| between two axes above this (0.06 degrees) means a sheared grid; rounded direction cosines stay well under it.
SHEAR_TOLERANCE = 1e-3
# Without a coded unit: an image that reaches air's value is taken for CT.
AIR_HU = -500.0
# Copied at once: about five milliseconds, so that Slicer stays responsive.
VOXELS_A_STEP = 2_000_000


def unitOfNode(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The unit of a node's voxels: its coded unit, else by DICOM modality, else "HU" if it holds air, else "a.u."."""
    coded = node.GetVoxelValueUnits()
    if coded is not None and coded.GetCodeValue():
        for unit, (code, _) in UNITS.items():
            if coded.GetCodeValue() == code:
                return unit
        return coded.GetCodeValue()
    modality = dicomModality(node)
    if modality == "PT":
        stored, kind = dicomValue(node, UNITS_TAG), dicomValue(node, SUV_TYPE_TAG)
        return STORED_UNITS.get(stored if kind in ("", "BW") else "", "a.u.")
    if modality:
        return "HU" if modality == "CT" else "a.u."
    return "HU" if node.GetImageData().GetScalarRange()[0] <= AIR_HU else "a.u."


def isOwn(node: slicer.vtkMRMLNode) -> bool:
    """Whether a node was reconstructed here: a part of a result, or the preview of a run."""
    return node.GetAttribute(RESULT_ATTRIBUTE) is not None


def firstVolume() -> slicer.vtkMRMLScalarVolumeNode | None:
    """The first volume that a user can choose: no labels, no vectors, no hidden node, nothing reconstructed here."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        # Labels and vectors are kinds of scalar volumes, which the selector does not list.
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not (isOwn(node) or node.GetHideFromEditors()):
            return node
    return None


def volumeFromNode(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The node's voxels as float32, K,J,I, in its own frame (its parent transform is left to the caller).

    Left-handed axes come out right-handed, K reversed along with its matrix: the same values at the same places.
    Raises ValueError for what is not an image: no voxels, a label map, vectors, a sheared grid, non-finite values.
    """
    steps = volumeInSteps(node)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def volumeInSteps(
    node: slicer.vtkMRMLScalarVolumeNode, slices: tuple[int, int] | None = None
) -> Generator[None, None, Volume]:
    """As `volumeFromNode`, of the node's slices [first, last), copied a few milliseconds' worth at each step.

    What can be refused by the node's head is refused when the first step is asked for.
    """
    name = node.GetName()
    matrix = checkedMatrix(node)
    count = node.GetImageData().GetDimensions()[2]
    first, last = (0, count) if slices is None else slices
    if not 0 <= first < last <= count:
        raise ValueError(_(
            "Expected slices within 0 to {count} of '{name}', found {first} to {last}: choose others."
        ).format(count=count, name=name, first=first, last=last))
    source = slicer.util.arrayFromVolume(node)
    array = np.empty((last - first, *source.shape[1:]), np.float32)
    together = max(1, VOXELS_A_STEP // source[0].size)
    bad = 0
    for start in range(0, last - first, together):
        part = array[start : start + together]
        # Asked for anew at each step: between two steps the node may have got another image.
        source = slicer.util.arrayFromVolume(node)
        if source.shape != (count, *array.shape[1:]):
            raise ValueError(_("The volume '{name}' changed while it was read: start again.").format(name=name))
        part[...] = source[first + start : first + start + len(part)]
        bad += int(np.count_nonzero(~np.isfinite(part)))
        yield
    if bad:
        raise ValueError(_(
            "The volume '{name}' holds {bad} voxels that are not finite numbers: replace them (for instance by air, "
            "-1000 HU) before reconstructing."
        ).format(name=name, bad=bad))
    matrix[:3, 3] += matrix[:3, 2] * first
    if np.linalg.det(matrix[:3, :3]) < 0:
        array, matrix = array[::-1], matrix @ _reverseK(len(array))
    return Volume(array, matrix, unitOfNode(node))


def checkedMatrix(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """The node's IJKToRAS matrix; raises ValueError, one sentence, for what is not an image."""
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode") or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise ValueError(_(
            "'{name}' is a {kind}, not a scalar volume: choose an image, not labels."
        ).format(name=name, kind=node.GetClassName()))
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise ValueError(_("The volume '{name}' holds no voxels: load its image first.").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        raise ValueError(_(
            "The volume '{name}' has {count} values a voxel: choose one with one value."
        ).format(name=name, count=image.GetNumberOfScalarComponents()))
    matrix = _ijkToRas(node)
    _refuseShear(matrix, name)
    try:
        check_size(matrix, image.GetDimensions()[::-1])
    except ValueError as error:
        raise ValueError(_("The volume '{name}' cannot be used: {reason}.").format(name=name, reason=error)) from error
    return matrix


def inFrameOf(node: slicer.vtkMRMLScalarVolumeNode, frame: slicer.vtkMRMLScalarVolumeNode | None) -> np.ndarray:
    """The matrix from a node's own frame to another node's own, or to the scene's (None); ValueError for a warp."""
    there = None if frame is None else frame.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), there, matrix):
        raise ValueError(_(
            "The volume '{name}' lies under a transform that bends it: harden the transform first."
        ).format(name=node.GetName()))
    return slicer.util.arrayFromVTKMatrix(matrix).astype(np.float64)


def nodeFromVolume(
    volume: Volume, name: str, parentTransformID: str | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a float32 volume node, right-handed, with the volume's geometry, coded unit and a parent transform."""
    array, matrix = _forNode(volume, name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    _fill(node, array, matrix, volume.unit)
    node.SetAndObserveTransformNodeID(parentTransformID)
    return node


def updateNodeFromVolume(node: slicer.vtkMRMLScalarVolumeNode, volume: Volume) -> None:
    """Give a node another volume's values, geometry and unit."""
    _fill(node, *_forNode(volume, node.GetName()), volume.unit)


def _forNode(volume: Volume, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Array and matrix of a volume, right-handed; ValueError for what cannot be shown."""
    array = np.ascontiguousarray(volume.array, dtype=np.float32)
    matrix = np.asarray(volume.ijk_to_ras, dtype=np.float64)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(_(
            "'{name}' must be a non-empty array (slices, rows, columns), but its shape is {shape}."
        ).format(name=name, shape=array.shape))
    if not (np.isfinite(array).all() and np.isfinite(matrix).all()):
        raise ValueError(_(
            "'{name}' holds values that are not finite numbers: it is not shown; reconstruct again."
        ).format(name=name))
    if np.linalg.det(matrix[:3, :3]) < 0:
        array, matrix = array[::-1].copy(), matrix @ _reverseK(array.shape[0])
    return array, matrix


def _fill(node: slicer.vtkMRMLScalarVolumeNode, array: np.ndarray, matrix: np.ndarray, unit: str) -> None:
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    slicer.util.updateVolumeFromArray(node, array)
    setUnit(node, unit)


def _ijkToRas(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix).astype(np.float64)


def _reverseK(count: int) -> np.ndarray:
    """The index matrix k -> count - 1 - k."""
    matrix = np.diag([1.0, 1.0, -1.0, 1.0])
    matrix[2, 3] = count - 1
    return matrix


def _refuseShear(matrix: np.ndarray, name: str) -> None:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if not cosine <= SHEAR_TOLERANCE:
        raise ValueError(_(
            "The volume '{name}' has a sheared grid (axes {degrees:.2f} degrees apart instead of 90, as with a tilted "
            "gantry): resample it to a rectangular grid first."
        ).format(name=name, degrees=np.degrees(np.arccos(min(cosine, 1.0)))))


def setUnit(node: slicer.vtkMRMLScalarVolumeNode, unit: str) -> None:
    """Give a node's voxels a coded unit."""
    code, meaning = UNITS.get(unit, (unit, unit))
    coded = slicer.vtkCodedEntry()
    coded.SetValueSchemeMeaning(code, "UCUM", meaning)
    node.SetVoxelValueUnits(coded)
    if unit in QUANTITIES:
        quantity = slicer.vtkCodedEntry()
        quantity.SetValueSchemeMeaning(*QUANTITIES[unit])
        node.SetVoxelValueQuantity(quantity)


def dicomModality(node: slicer.vtkMRMLVolumeNode) -> str:
    """The DICOM modality of the series that a node was loaded from, "" without one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""


def dicomBodyPart(node: slicer.vtkMRMLVolumeNode) -> str:
    """The body part that DICOM names for the series of a node, "" where there is none or it is not known."""
    return dicomValue(node, BODY_PART_TAG)


def dicomValue(node: slicer.vtkMRMLVolumeNode, tag: str) -> str:
    """A field of the first image that a node was loaded from, "" where there is none or it is not known."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return ""
    return str(database.instanceValue(instances[0], tag) or "").strip()

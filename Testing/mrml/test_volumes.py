"""Nodes to volumes and back, on a real MRML scene, not run in the Slicer application."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.volume import Volume
from DiffusionReconLib.scene import volumes
from DiffusionReconLib.scene.volumes import UNITS, nodeFromVolume, unitOfNode, volumeFromNode, volumeInSteps
from host.application import Application

SHAPE = (5, 6, 7)


def rotation(*degrees: float) -> np.ndarray:
    """Turned about the x, y and z axes one after another."""
    transform = vtk.vtkTransform()
    transform.RotateX(degrees[0])
    transform.RotateY(degrees[1])
    transform.RotateZ(degrees[2])
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())[:3, :3]


def matrixOf(axes: np.ndarray, spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """IJK to RAS from directions (columns), spacing (i, j, k) and origin in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = origin
    return matrix


GEOMETRIES = {
    "axial": matrixOf(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.0, 1.0), (10.0, 20.0, -30.0)),
    "anisotropic": matrixOf(np.diag([-1.0, -1.0, 1.0]), (0.7, 0.9, 3.75), (123.4, 98.7, -500.25)),
    "oblique": matrixOf(rotation(20, -35, 50), (0.7, 0.7, 2.5), (-11.0, 7.5, 3.25)),
    "flipped slices": matrixOf(np.diag([-1.0, -1.0, -1.0]), (1.0, 1.5, 2.0), (10.0, 20.0, 30.0)),
    "flipped rows": matrixOf(np.diag([-1.0, 1.0, 1.0]), (1.0, 1.5, 2.0), (10.0, -20.0, 30.0)),
    "oblique left-handed": matrixOf(rotation(5, 10, -15) @ np.diag([1.0, 1.0, -1.0]), (0.5, 0.6, 4.0), (1.0, 2.0, 3.0)),
}


def makeNode(matrix: np.ndarray, dtype: str = "int16") -> slicer.vtkMRMLScalarVolumeNode:
    """A CT node with a different value in every voxel."""
    values = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 3 - 1000).astype(dtype)
    return slicer.util.addVolumeFromArray(values, matrix, "CT")


def samples(array: np.ndarray, matrix: np.ndarray) -> dict[tuple[float, ...], float]:
    """Value by place: RAS in mm, rounded to 1e-6, of every voxel."""
    k, j, i = np.indices(array.shape).reshape(3, -1)
    places = (matrix @ np.stack([i, j, k, np.ones_like(i)]))[:3].T
    return dict(zip(map(tuple, (np.round(places, 5) + 0.0).tolist()), array.ravel().tolist(), strict=True))


def nodeSamples(node: slicer.vtkMRMLScalarVolumeNode) -> dict[tuple[float, ...], float]:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return samples(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVTKMatrix(matrix))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_everyValueKeepsItsPlaceThroughVolumeFileAndNode(name: str, application: Application) -> None:
    node = makeNode(GEOMETRIES[name])
    volume = volumeFromNode(node)
    assert volume.array.dtype == np.float32
    assert np.linalg.det(volume.ijk_to_ras[:3, :3]) > 0
    path = Path(slicer.app.temporaryPath) / "Bild ä.nrrd"
    write_volume(volume, path)
    back = nodeFromVolume(read_volume(path), "back")
    assert nodeSamples(back) == nodeSamples(node)
    assert back.GetImageData().GetScalarTypeAsString() == "float"


@pytest.mark.parametrize("name", GEOMETRIES)
def test_slicerReadsItsOwnFileOfTheResultUnflipped(name: str, application: Application) -> None:
    node = nodeFromVolume(volumeFromNode(makeNode(GEOMETRIES[name])), "result")
    path = Path(slicer.app.temporaryPath) / "result.nrrd"
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "again")
    again.AddDefaultStorageNode()
    again.GetStorageNode().SetFileName(str(path))
    assert again.GetStorageNode().ReadData(again)
    assert np.array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(node))
    assert nodeSamples(again) == nodeSamples(node)


def test_parentTransformIsKeptAndNotHardened(application: Application) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
    moved = np.eye(4)
    moved[:3, :3] = rotation(0, 0, 30)
    moved[:3, 3] = [100.0, 0.0, -50.0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    node = makeNode(GEOMETRIES["oblique"])
    node.SetAndObserveTransformNodeID(transform.GetID())
    result = nodeFromVolume(volumeFromNode(node), "result", node.GetTransformNodeID())
    bounds, expected = [0.0] * 6, [0.0] * 6
    result.GetRASBounds(bounds)
    node.GetRASBounds(expected)
    assert result.GetTransformNodeID() == transform.GetID()
    assert bounds == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["axial", "flipped slices"])
def test_slicesAreThoseOfTheNodeAtTheirPlace(name: str, application: Application) -> None:
    node = makeNode(GEOMETRIES[name])
    whole, part = volumeFromNode(node), finished(volumeInSteps(node, (1, 3)))
    own = slicer.util.arrayFromVolume(node)[1:3]
    assert np.array_equal(part.array, own[::-1] if name == "flipped slices" else own)
    first = int(np.argmax([np.array_equal(plane, part.array[0]) for plane in whole.array]))
    assert np.allclose(part.ijk_to_ras @ [0, 0, 0, 1], whole.ijk_to_ras @ [0, 0, first, 1], atol=1e-9)


def test_volumeThatChangesWhileItIsReadIsRefused(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "VOXELS_A_STEP", 1)
    node = makeNode(GEOMETRIES["axial"])
    steps = volumeInSteps(node)
    next(steps)
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ValueError, match="changed while it was read"):
        finished(steps)


def finished(steps: Generator[None, None, Volume]) -> Volume:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("unit", UNITS)
def test_unitIsCodedAndFoundAgain(unit: str, application: Application) -> None:
    node = nodeFromVolume(Volume(np.ones((2, 2, 2), np.float32), np.eye(4), unit), "coded")
    assert unitOfNode(node) == unit
    assert node.GetVoxelValueUnits().GetCodingSchemeDesignator() == "UCUM"


def test_unitWithoutCodeComesFromModalityOrAir(application: Application) -> None:
    node = makeNode(GEOMETRIES["axial"])
    assert unitOfNode(node) == "HU"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert unitOfNode(node) == "a.u."
    assert unitOfNode(slicer.util.addVolumeFromArray(np.ones((2, 2, 2), np.int16))) == "a.u."


def test_unusableNodesAreRefusedInOneSentence(application: Application) -> None:
    sheared = GEOMETRIES["axial"].copy()
    sheared[1, 2] = 0.2
    micrometres = GEOMETRIES["axial"] @ np.diag([3600.0, 3600.0, 5000.0, 1.0])
    holes = np.zeros(SHAPE, np.float32)
    holes[1, 2, 3] = np.nan
    labels = slicer.util.addVolumeFromArray(np.ones(SHAPE, np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    refused = {
        "sheared grid": makeNode(sheared),
        "voxels of 3600 x 3600 x 5000 mm": makeNode(micrometres),
        "1 voxels that are not finite": slicer.util.addVolumeFromArray(holes, np.eye(4), "holes"),
        "no voxels": slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"),
        "not a scalar volume": labels,
    }
    for words, node in refused.items():
        with pytest.raises(ValueError, match=words) as error:
            volumeFromNode(node)
        assert str(error.value).endswith(".")
        assert "\n" not in str(error.value)


def test_resultWithNonFiniteValuesIsRefusedBeforeANodeIsMade(application: Application) -> None:
    count = application.scene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="not finite"):
        nodeFromVolume(Volume(np.full((2, 2, 2), np.inf, np.float32), np.eye(4), "HU"), "bad")
    assert application.scene.GetNumberOfNodes() == count

"""Pictures and scene bundles by Slicer's displayable managers, on a real MRML scene, not run in the application."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from host.application import Application, makeApplication, openBundle, saveBundle
from host.render import publishAndRender, thresholdLabels
from host.results import analyticThorax, writeResultFolder
from host.views import FourViews, anatomicalLetter, requireRendering, writePng


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The picture and the bundle of a small result, in folders with a space and letters outside ASCII."""
    folder = tmp_path_factory.mktemp("Wörk dir")
    return publishAndRender(writeResultFolder(folder / "jöb"), folder / "out put", size=256)


def picture(path: str) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(path))[..., :3].astype(int)


def test_pictureShowsImageOverlayLegendLettersAndSurfaces(rendered: dict[str, str]) -> None:
    image = picture(rendered["views"])
    assert image.shape == (516, 516, 3)
    axial, threeD = image[:256, :256], image[:256, 260:]
    # The spine is white at this window, behind the middle; in front of it the mediastinum is lighter than the lungs.
    assert axial[181, 128].min() > 230
    assert axial[128, 128].mean() > axial[128, 85].mean() + 60
    # Overlay: reddish at the body's edge, neutral inside the body.
    edge = axial[:, 10:22].reshape(-1, 3)
    assert (edge[:, 0] - edge[:, 2]).max() > 25
    assert np.ptp(axial[100, 128]) < 12
    # The patient's right (R) and left (L) are written at the edges, and the legend's yellow end is in the corner.
    assert axial[115:140, 4:18].max() > 200
    assert axial[115:140, 238:252].max() > 200
    corner = axial[:128, 200:].reshape(-1, 3)
    assert ((corner[:, 0] > 200) & (corner[:, 1] > 160) & (corner[:, 2] < 100)).any()
    # Lungs in light blue against the body's pale surface in 3D.
    assert (threeD.reshape(-1, 3).std(axis=0) > 15).all()


def test_sidesFollowTheSliceMatrix(application: Application) -> None:
    views = FourViews(application, 64).slices
    assert views["Red"].sideLetters() == {"right": "L", "left": "R", "top": "A", "bottom": "P"}
    assert views["Green"].sideLetters() == {"right": "L", "left": "R", "top": "S", "bottom": "I"}
    assert views["Yellow"].sideLetters() == {"right": "P", "left": "A", "top": "S", "bottom": "I"}
    assert [anatomicalLetter(np.array(v)) for v in ((0.9, 0.1, 0), (0, -0.8, 0.6), (0, 0.6, 0.8))] == ["R", "P", "S"]


def volumeBeginningWith(name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume of a name that a result's label follows."""
    (found,) = (node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                if node.GetName().startswith(name))
    return found


def test_bundleOpensWithEverythingDisplayed(rendered: dict[str, str]) -> None:
    scene = openBundle(rendered["scene"]).scene
    mean = volumeBeginningWith("CT diffusion mean (")
    spread = volumeBeginningWith("CT spread of estimates, not an error bar (HU) (")
    assert slicer.util.arrayFromVolume(mean).shape == (24, 64, 64)
    assert slicer.util.arrayFromVolume(mean).dtype == np.float32
    assert spread.GetAttribute("DiffusionPriors.Spread") == "concentrated"
    assert mean.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    assert (mean.GetDisplayNode().GetWindow(), mean.GetDisplayNode().GetLevel()) == (1400.0, -300.0)
    assert spread.GetDisplayNode().GetColorNode().GetName() == "Diffusion uncertainty"
    assert spread.GetDisplayNode().GetColorNode().GetNumberOfColors() == 256
    legend = scene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Spread\nHU"
    layers = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {each.GetLayoutName() for each in layers} == {"Red", "Green", "Yellow"}
    for each in layers:
        assert each.GetBackgroundVolumeID() == mean.GetID()
        assert each.GetForegroundVolumeID() == spread.GetID()
        assert each.GetForegroundOpacity() == pytest.approx(0.45)
    segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    names = [segmentation.GetSegmentation().GetNthSegment(n).GetName() for n in range(3)]
    assert names == ["Body", "Lungs", "Bone"]
    assert segmentation.GetDisplayNode().GetVisibility2DOutline()
    assert "Größe" in scene.GetFirstNodeByClass("vtkMRMLTextNode").GetText()
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_bundleOpenedBesideViewsLooksTheSame(rendered: dict[str, str]) -> None:
    application = makeApplication()
    views = FourViews(application, 256)
    empty = views.image().astype(int)
    openBundle(rendered["scene"], application)
    views.fit()
    again, first = views.image().astype(int), picture(rendered["views"])
    assert (np.abs(again - first).max(axis=2) > 30).mean() < 0.02
    assert (np.abs(empty - first).max(axis=2) > 30).mean() > 0.15


def test_givenSegmentsAreShown(application: Application, tmp_path: Path) -> None:
    from diffusion_engine.io.images import write_volume
    from diffusion_engine.volume import Volume
    from host.results import axialMatrix

    shape = (6, 32, 32)
    folder = writeResultFolder(tmp_path / "job", shape)
    labels = np.zeros(shape, np.uint8)
    labels[:, 8:24, 8:24] = 1
    labels[2:4, 12:16, 12:16] = 4
    write_volume(Volume(labels, axialMatrix(shape), "a.u."), folder / "segments.nrrd")
    publishAndRender(folder, tmp_path / "out", size=64)
    shown = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetSegmentation()
    assert [shown.GetNthSegment(n).GetName() for n in range(shown.GetNumberOfSegments())] == ["Body", "Nodules"]


def test_inputOfTheCurrentSceneStaysInTheBundle(application: Application, tmp_path: Path) -> None:
    node = slicer.util.addVolumeFromArray(analyticThorax((6, 32, 32)), name="Chest")
    files = publishAndRender(writeResultFolder(tmp_path / "job", (6, 32, 32)), tmp_path / "out", node, size=64)
    scene = openBundle(files["scene"]).scene
    assert scene.GetFirstNodeByName("Chest") is not None
    mean = volumeBeginningWith("Chest diffusion mean (")
    assert mean.GetNodeReference("DiffusionPriors.Input").GetName() == "Chest"


def test_thresholdsFindBodyLungsAndBone() -> None:
    hu = analyticThorax((4, 64, 64))
    labels = thresholdLabels(hu, 5.5)
    assert (labels[hu == -850] == 2).mean() > 0.98
    assert (labels[hu == 450] == 3).all()
    assert (labels[hu == -1000] == 0).all()


def test_whatCannotBeWrittenOrReadIsSaidInOneSentence(application: Application, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="ascii")
    with pytest.raises((RuntimeError, OSError), match="file"):
        saveBundle(application.scene, blocked / "scene.mrb")
    with pytest.raises(RuntimeError, match="could not be written"):
        writePng(np.zeros((4, 4, 3), np.uint8), tmp_path / "missing" / "views.png")
    with pytest.raises(RuntimeError, match="could not be read"):
        openBundle(tmp_path / "missing.mrb")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux needs libEGL")
def test_missingEGLIsSaidInOneSentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(RuntimeError, match="needs libEGL"):
        requireRendering()


def test_theDemosLastStepRunsInAProcessOfItsOwn(tmp_path: Path) -> None:
    """As the demo runs it: nothing of an application was imported before."""
    import subprocess

    folder, staging = writeResultFolder(tmp_path / "job", (6, 32, 32)), tmp_path / "staging"
    staging.mkdir()
    code = (
        "import pathlib, sys, demo\n"
        "demo.collect(pathlib.Path(sys.argv[1]), None, pathlib.Path(sys.argv[2]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(staging)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr
    assert {"views.png", "scene.mrb", "result.json", "mean.nrrd"} <= {path.name for path in staging.iterdir()}


def test_missingSlicerCoreIsSaidInOneSentence() -> None:
    import subprocess

    code = "import sys; sys.modules['slicer'] = None; import host.application"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1]
    )
    assert run.returncode != 0
    assert "install slicer-core" in run.stderr.strip().splitlines()[-1]


def test_newestApplicationIsTheCurrentOne() -> None:
    first, second = makeApplication(), makeApplication()
    assert slicer.mrmlScene is second.scene
    assert first.scene is not second.scene

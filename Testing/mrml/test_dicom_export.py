"""Result volumes as DICOM series, written from a real MRML scene and read back by the engine."""

from __future__ import annotations

import copy
import types
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
import slicer.util
from diffusion_engine.io.images import read_volume
from DiffusionReconLib.scene import dicom_export
from DiffusionReconLib.scene.dicom_export import exportSeries, sourceDatasets
from DiffusionReconLib.scene.publish import publishResult
from DiffusionReconLib.scene.volumes import nodeFromVolume, volumeFromNode
from full_results import writeFullResult
from host.application import Application
from host.older import pydicom24
from pydicom.uid import generate_uid

SHAPE = (5, 20, 24)


def oblique() -> np.ndarray:
    a, b = np.radians(20), np.radians(-35)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_x @ turn_y @ np.diag([-1.0, -1.0, 1.0]) * (0.7, 0.9, 2.5)
    matrix[:3, 3] = (11.0, -7.5, 1303.25)
    return matrix


def sourceImages(count: int = 2) -> list[pydicom.Dataset]:
    """Headers as a scanner's CT has them, with a name outside ASCII."""
    shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
              "FrameOfReferenceUID": generate_uid()}  # fmt: skip
    images = []
    for number in range(count):
        data = pydicom.Dataset()
        data.SpecificCharacterSet = "ISO_IR 100"
        data.PatientName, data.PatientID, data.PatientSex = "Müller^Änne", "P-1", "F"
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20240102", "112233", "S1", "A1"
        data.SOPClassUID, data.SOPInstanceUID = dicom_export.CT_STORAGE, generate_uid()
        data.Modality, data.InstanceNumber = "CT", number + 1
        for name, uid in shared.items():
            setattr(data, name, uid)
        images.append(data)
    return images


@pytest.fixture
def nodes(application: Application, tmp_path: Path) -> dict[str, slicer.vtkMRMLNode]:
    return publishResult(writeFullResult(tmp_path / "job", SHAPE))


@pytest.mark.parametrize("key", ["mean", "uncertainty", "not_seen_share", "residual"])
def test_seriesReadsBackWithValuesPlaceAndUnit(
    key: str, nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path
) -> None:
    node = nodes[key]
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique()))
    files = exportSeries(node, tmp_path / "Serie ä", sourceImages())
    assert len(files) == SHAPE[0]
    back, wanted = read_volume(tmp_path / "Serie ä"), volumeFromNode(node)
    step = np.ptp(wanted.array) / 65535
    assert np.abs(back.array - wanted.array).max() <= 0.51 * step + 1e-5
    assert np.abs(back.ijk_to_ras - oblique()).max() < 1e-4
    assert back.unit == ("HU" if key in ("mean", "uncertainty") else "a.u.")


def test_fileBelongsToPatientAndStudyAndSaysWhatItIs(nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path) -> None:
    sources = sourceImages()
    first = [pydicom.dcmread(path) for path in exportSeries(nodes["mean"], tmp_path / "a", sources)]
    second = pydicom.dcmread(exportSeries(nodes["uncertainty"], tmp_path / "b", sources, 9001)[0])
    data = first[0]
    assert (str(data.PatientName), data.PatientID, data.AccessionNumber) == ("Müller^Änne", "P-1", "A1")
    assert data.StudyInstanceUID == second.StudyInstanceUID == sources[0].StudyInstanceUID
    assert data.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert list(data.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "MEAN"]
    assert data.SOPClassUID == dicom_export.CT_STORAGE
    series = {each.SeriesInstanceUID for each in first}
    assert len(series) == 1
    assert not series & {second.SeriesInstanceUID, sources[0].SeriesInstanceUID}
    assert len({each.SOPInstanceUID for each in first}) == SHAPE[0]
    assert [each.InstanceNumber for each in first] == [1, 2, 3, 4, 5]
    referenced = [item.ReferencedSOPInstanceUID for item in data.SourceImageSequence]
    assert referenced == [source.SOPInstanceUID for source in sources]
    assert "Not for diagnostic use" in data.DerivationDescription
    assert "prior ct-body" in data.DerivationDescription
    assert second.SeriesNumber == 9001
    assert "not an error bar" in second.SeriesDescription


def test_mrImagesAreDerivedMRWithTheirSequence(nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path) -> None:
    from diffusion_engine.volume import Volume

    rng = np.random.default_rng(0)
    image = Volume(rng.random((3, 8, 9)).astype(np.float32) * 3e-5, oblique(), "a.u.")
    node, share = nodeFromVolume(image, "head mean"), nodeFromVolume(image.with_array(image.array, "1"), "head share")
    for each in (node, share):
        each.SetAttribute("DiffusionPriors.Modality", "mri")
    share.SetAttribute("DiffusionPriors.Result", "not_seen_share")
    source = pydicom.Dataset()
    source.StudyInstanceUID, source.SOPInstanceUID = generate_uid(), generate_uid()
    source.SOPClassUID, source.EchoTime = dicom_export.MR_STORAGE, "4.5"
    files = exportSeries(node, tmp_path / "mr", [source])
    data = [pydicom.dcmread(path) for path in files]
    assert (data[0].SOPClassUID, data[0].Modality) == ("1.2.840.10008.5.1.4.1.1.4", "MR")
    assert list(data[0].ImageType[:3]) == ["DERIVED", "SECONDARY", "OTHER"]
    assert (data[0].EchoTime, data[0].ScanningSequence, data[0].RepetitionTime) == (4.5, "RM", None)
    uids = {each.SOPInstanceUID for each in data} | {data[0].SeriesInstanceUID, source.SOPInstanceUID}
    assert len(uids) == len(data) + 2
    back = read_volume(tmp_path / "mr")
    assert back.unit == "a.u."
    np.testing.assert_allclose(back.array, image.array, atol=0.51 * np.ptp(image.array) / 65535)
    np.testing.assert_allclose(back.ijk_to_ras, oblique(), atol=1e-4)
    assert pydicom.dcmread(exportSeries(share, tmp_path / "share")[0]).Modality == "OT"


@pytest.mark.parametrize(("unit", "units"), [("Bq/mL", "BQML"), ("SUV", "GML")])
def test_petImagesAreDerivedPETFromWhichTheSameSUVIsComputed(
    application: Application, tmp_path: Path, unit: str, units: str
) -> None:
    from diffusion_engine.modalities.pet.readings.dicom_pet import read_dicom_pet
    from diffusion_engine.volume import Volume

    rng = np.random.default_rng(0)
    image = Volume(rng.random((3, 8, 9)).astype(np.float32) * 20000, oblique(), unit)
    node = nodeFromVolume(image, "torso mean")
    node.SetAttribute("DiffusionPriors.Modality", "pet")
    source = pydicom.Dataset()
    source.StudyInstanceUID, source.SOPInstanceUID, source.SOPClassUID = generate_uid(), generate_uid(), "1.2.3"
    source.Modality, source.SeriesInstanceUID, source.PatientWeight = "PT", generate_uid(), 70
    source.SeriesDate, source.SeriesTime, source.AcquisitionDate = "20240315", "120000", "20240315"
    source.AcquisitionTime, source.DecayCorrection, source.CorrectedImage = "110000", "START", ["ATTN", "DECY"]
    tracer = pydicom.Dataset()
    tracer.RadiopharmaceuticalStartTime, tracer.RadionuclideTotalDose = "100000", 3.5e8
    tracer.RadionuclideHalfLife = 6586.2
    source.RadiopharmaceuticalInformationSequence = [tracer]
    later = copy.deepcopy(source)
    later.AcquisitionTime, later.SOPInstanceUID = "111000", generate_uid()
    exportSeries(node, tmp_path / "pt", [later, source])
    data = pydicom.dcmread(tmp_path / "pt" / "IMG00002.dcm")
    assert (data.SOPClassUID, data.Modality, data.Units) == ("1.2.840.10008.5.1.4.1.1.128", "PT", units)
    assert (data.ImageIndex, data.NumberOfSlices, data.RescaleIntercept, data.AcquisitionTime) == (2, 3, 0, "110000")
    assert data.ContentDate != "20240315"
    assert data.SeriesInstanceUID not in (source.SeriesInstanceUID, later.SeriesInstanceUID)
    back = read_dicom_pet(tmp_path / "pt")
    assert back.volume.unit == unit
    np.testing.assert_allclose(back.volume.array, image.array, atol=0.51 * image.array.max() / 65535)
    assert back.factors is not None
    expected = 1.0 if unit == "SUV" else 70e3 / (3.5e8 * 0.5 ** (3600 / 6586.2))
    assert back.factors.bw == pytest.approx([expected] * 3)
    exportSeries(node, tmp_path / "alone")
    alone = pydicom.dcmread(tmp_path / "alone" / "IMG00001.dcm")
    assert alone.Units == units
    assert "DecayCorrection" not in alone


def test_withoutSourcesThereIsANewStudyWithoutPatient(nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path) -> None:
    data = pydicom.dcmread(exportSeries(nodes["tv"], tmp_path / "new")[0])
    assert (str(data.PatientName), data.PatientID) == ("", "")
    assert data.StudyInstanceUID
    assert "SourceImageSequence" not in data


def test_constantVolumeKeepsItsValue(application: Application, tmp_path: Path) -> None:
    from diffusion_engine.volume import Volume

    node = nodeFromVolume(Volume(np.full((2, 3, 4), -1000.25, np.float32), np.eye(4), "HU"), "air")
    exportSeries(node, tmp_path / "air")
    assert np.array_equal(read_volume(tmp_path / "air").array, np.full((2, 3, 4), -1000.25))


def test_refusalsLeaveNothingBehind(
    nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep", encoding="ascii")
    with pytest.raises(ValueError, match="empty folder"):
        exportSeries(nodes["mean"], tmp_path / "full")
    with pytest.raises(ValueError, match="several studies"):
        exportSeries(nodes["mean"], tmp_path / "two", [*sourceImages(1), *sourceImages(1)])
    real = dicom_export._slice

    def failsAtTheThird(common: object, volume: object, index: int, plane: object) -> object:
        if index == 2:
            raise OSError(28, "No space left on device")
        return real(common, volume, index, plane)

    monkeypatch.setattr(dicom_export, "_slice", failsAtTheThird)
    with pytest.raises(ValueError, match="No space left"):
        exportSeries(nodes["mean"], tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "two").exists()


def test_sourcesAreFoundThroughSlicersDatabase(
    nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sourceDatasets(None) == []
    assert sourceDatasets(nodes["mean"]) == []
    files = exportSeries(nodes["mean"], tmp_path / "scan")
    places = {pydicom.dcmread(path).SOPInstanceUID: str(path) for path in files}
    monkeypatch.setattr(
        slicer, "dicomDatabase", types.SimpleNamespace(fileForInstance=lambda uid: places.get(uid, "")), raising=False
    )
    nodes["tv"].SetAttribute("DICOM.instanceUIDs", " ".join([*list(places)[:3], "1.2.3"]))
    found = sourceDatasets(nodes["tv"])
    assert [data.SOPInstanceUID for data in found] == list(places)[:3]
    assert all("PixelData" not in data for data in found)
    again = pydicom.dcmread(exportSeries(nodes["tv"], tmp_path / "tv", found)[0])
    assert again.StudyInstanceUID == found[0].StudyInstanceUID


def test_olderPydicomWritesTheSameSeries(nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path) -> None:
    """pydicom 2.4 knows no `enforce_file_format`, and asks a dataset for its encoding."""
    newer = exportSeries(nodes["mean"], tmp_path / "newer")
    with pydicom24():
        older = exportSeries(nodes["mean"], tmp_path / "older")
    for first, second in zip(newer, older, strict=True):
        one, other = pydicom.dcmread(first), pydicom.dcmread(second)
        assert other.file_meta.TransferSyntaxUID == one.file_meta.TransferSyntaxUID
        assert other.PixelData == one.PixelData
        assert other.ImagePositionPatient == one.ImagePositionPatient


@pytest.mark.parametrize(("name", "wanted"), [
    ("Chest diffusion mean (DDS, 60 views, 14:32)", "Chest diffusion mean (DDS, 60 views, 14:32)"),
    ("Chest of a long name, posterior standard deviation (HU) (DDS, 60 views, 14:32)",
     "Chest of a long name, posterior standard deviation (HU)"),
    ("C" * 70 + " diffusion mean (DDS, 14:32)", "C" * 61 + "..."),
])
def test_seriesDescriptionIsNotSilentlyCut(
    name: str, wanted: str, nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path
) -> None:
    nodes["mean"].SetName(name)
    data = pydicom.dcmread(exportSeries(nodes["mean"], tmp_path / "out")[0])
    assert data.SeriesDescription == wanted
    assert name in data.DerivationDescription


def test_theFirstErrorOfAFailedSeriesIsTold(
    nodes: dict[str, slicer.vtkMRMLNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was written cannot be removed again."""
    def refuse(*_given: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dicom_export.FileDataset, "save_as", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ValueError, match=r"could not be written to .* \(No space left on device\)"):
        exportSeries(nodes["mean"], tmp_path / "series")

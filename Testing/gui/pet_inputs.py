"""Small PET inputs of tests on the stand-in: a body in the scene, its counts in files, and a DICOM series."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import slicer
import slicer.util
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PIXEL_MM, SPACING_MM = 6.0, 5.0
SHAPE = (3, 48, 48)
PET_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
HALF_LIFE_S = 6586.2
WATER_PER_MM = 0.0096


def bodyArray(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Slices of an ellipse of 2000 Bq/mL with a hot organ and a lesion."""
    slices, rows, columns = shape
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    image = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 2000.0, 0.0)
    image[(x + 0.3) ** 2 + (y + 0.1) ** 2 < 0.05] = 6000.0
    image[(x - 0.4) ** 2 + (y - 0.2) ** 2 < 0.012] = 12000.0
    return np.repeat(image[None], slices, 0).astype(np.float32)


def matrix() -> np.ndarray:
    return np.diag([-PIXEL_MM, -PIXEL_MM, SPACING_MM, 1.0])


def addBody(name: str = "Body", unit: str = "Bq/mL") -> Any:
    """A PET volume in the scene; "" as a file without a unit brings it."""
    from DiffusionReconLib.scene.volumes import setUnit

    node = slicer.util.addVolumeFromArray(bodyArray(), matrix(), name)
    if unit:
        setUnit(node, unit)
    return node


def addCT(name: str = "Body CT", shift: float = 0.0, unit: str = "HU") -> Any:
    """A CT of the body on finer pixels, moved by `shift` mm to the left: soft tissue in air."""
    from DiffusionReconLib.scene.volumes import setUnit

    fine = np.kron(bodyArray()[0] > 0, np.ones((2, 2), bool))
    array = np.repeat(np.where(fine, 40.0, -1000.0)[None], 3, 0).astype(np.float32)
    if unit == "1/mm":
        array = np.where(array > 0, WATER_PER_MM, 0.0).astype(np.float32)
    place = np.diag([-PIXEL_MM / 2, -PIXEL_MM / 2, SPACING_MM, 1.0])
    place[:3, 3] = [PIXEL_MM / 4 - shift, PIXEL_MM / 4, 0.0]
    node = slicer.util.addVolumeFromArray(array, place, name)
    if unit in ("HU", "1/mm"):
        setUnit(node, unit)
    return node


def counts(angles: int = 30) -> np.ndarray:
    """(slices, angles, bins): expected counts of a disc of 100 mm radius, and noise."""
    place = (np.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2) * PIXEL_MM
    profile = 2 * np.sqrt(np.maximum(100.0**2 - place**2, 0))
    mean = np.broadcast_to(profile, (SHAPE[0], angles, SHAPE[2]))
    return np.random.default_rng(0).poisson(mean).astype(np.float32)


def writeArray(folder: Path, **said: Any) -> Path:
    """The counts as a plain array, of which the file says nothing; `said` in a description beside it."""
    path = folder / "counts.npy"
    np.save(path, counts())
    if said:
        path.with_suffix(".json").write_text(json.dumps(said))
    return path


def writeOwn(folder: Path) -> Path:
    """The counts in this program's own format, with background and attenuation."""
    from diffusion_engine.modalities.pet.readings.arrays import write_npz
    from diffusion_engine.modalities.pet.sinogram import Sinogram

    values = counts()
    path = folder / "scan.npz"
    write_npz(Sinogram(
        values, np.arange(values.shape[1]) * np.pi / values.shape[1], PIXEL_MM, (SHAPE[2] - 1) / 2, SPACING_MM,
        background=np.full_like(values, 0.5), attenuation=np.full_like(values, 0.5), duration_s=60.0,
        counts_per_bq=1e-3, facts={"isotope": "F-18"},
    ), path)
    return path


def writeSeries(folder: Path, **changes: Any) -> list[Path]:
    """A classic PET series on the body's grid, injected an hour before; None takes a field out."""
    folder.mkdir(parents=True, exist_ok=True)
    injected = pydicom.Dataset()
    injected.RadiopharmaceuticalStartTime, injected.RadionuclideHalfLife = "100000", HALF_LIFE_S
    injected.RadionuclideTotalDose = 3.5e8
    fields = {
        "Modality": "PT", "Units": "BQML", "SeriesDate": "20240315", "SeriesTime": "110000",
        "AcquisitionDate": "20240315", "AcquisitionTime": "110005", "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY"], "PatientWeight": 70, "PatientSize": 1.8, "PatientSex": "M",
        "ActualFrameDuration": 120000, "RadiopharmaceuticalInformationSequence": [injected], **changes,
    }
    pixels = (bodyArray() / 10).astype("<u2")
    uid = generate_uid()
    paths = []
    for n, plane in enumerate(pixels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = PET_STORAGE, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = PET_STORAGE, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID = uid, uid
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelData = 1, "MONOCHROME2", plane.tobytes()
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, SPACING_MM * n], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [PIXEL_MM, PIXEL_MM], SPACING_MM
        data.RescaleSlope, data.RescaleIntercept = 10, 0
        for name, value in fields.items():
            if value is not None:
                setattr(data, name, value)
        paths.append(folder / f"{n}.dcm")
        data.save_as(paths[-1])
    return paths


def inDatabase(monkeypatch: Any, node: Any, paths: list[Path]) -> None:
    """Slicer's DICOM database knows the files of a volume, which was loaded from them."""
    files = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}

    def value(uid: str, tag: str) -> str:
        found = pydicom.dcmread(files[uid], stop_before_pixels=True).get(int(tag.replace(",", ""), 16))
        return "" if found is None else str(found.value)

    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(
        fileForInstance=lambda uid: str(files.get(uid, "")), instanceValue=value), raising=False)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))

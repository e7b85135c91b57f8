"""PET images of DICOM, ECAT, NIfTI and others: values, places, units and SUV."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import one, write_enhanced, write_slice
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.pet.readings.dicom_pet import read_dicom_pet
from diffusion_engine.modalities.pet.readings.ecat import is_ecat, read_ecat
from diffusion_engine.modalities.pet.readings.images import own_image
from diffusion_engine.modalities.pet.unit_question import question_pet
from diffusion_engine.volume import Volume
from sample_data import samples
from scipy.io import loadmat

PET, ENHANCED = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130"
T = 6586.2
PIXELS = np.random.default_rng(2).integers(0, 1000, (3, 5, 4)).astype(np.uint16)
SLOPES = (1.5, 2.0, 0.5)


def injected(**changes: Any) -> list[pydicom.Dataset]:
    fields = {"RadiopharmaceuticalStartTime": "100000.00", "RadionuclideTotalDose": 3.5e8, "RadionuclideHalfLife": T,
              "RadionuclideCodeSequence": one(CodeValue="C-111A1", CodeMeaning="^18^Fluorine"), **changes}
    return one(**{name: value for name, value in fields.items() if value is not None})


def series(folder: Path, at: Any = lambda n: {}, **changes: Any) -> Path:
    """A classic PET series of three slices, rescaled by a slope of its own each."""
    fields: dict[str, Any] = {
        "SOPClassUID": PET, "Modality": "PT", "SeriesDate": "20240315", "SeriesTime": "110000", "Units": "BQML",
        "AcquisitionDate": "20240315", "AcquisitionTime": "110005", "DecayCorrection": "START", "RescaleIntercept": 0,
        "CorrectedImage": ["ATTN", "DECY"], "PatientWeight": 70, "PatientSize": 1.8, "PatientSex": "M",
        "ActualFrameDuration": 120000, "RadiopharmaceuticalInformationSequence": injected(), **changes}
    for n in (2, 0, 1):
        write_slice(folder / f"{n}.dcm", PIXELS[n], (0.0, 0.0, 2.5 * n), **{
            **fields, "RescaleSlope": SLOPES[n], **at(n)})
    return folder


def stored() -> np.ndarray:
    return PIXELS * np.array(SLOPES).reshape(3, 1, 1)


def per_bqml(minutes: float = 60) -> float:
    return 70e3 / (3.5e8 * 0.5 ** (minutes * 60 / T))


def test_a_series_in_its_unit_and_as_suv(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt")
    found = read_dicom_pet(folder)
    assert found.volume.unit == "Bq/mL"
    assert found.volume.array == pytest.approx(stored())
    assert found.factors is not None
    suv = read_dicom_pet(folder, "bw")
    assert suv.volume.unit == "SUV"
    assert suv.volume.array == pytest.approx(stored() * per_bqml(), rel=1e-6)
    lean = read_dicom_pet(folder, "lbm").volume
    assert lean.unit == "SUVlbm"
    assert lean.array == pytest.approx(suv.volume.array * 9270 / (6680 + 216 * 70 / 1.8**2), rel=1e-5)
    assert own_image(folder) is own_image(folder / "0.dcm") is None


def test_missing_weight_is_asked_for_only_where_suv_is_wanted(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt", PatientWeight=None)
    found = read_dicom_pet(folder)
    assert found.factors is None
    assert found.question is not None
    assert "PatientWeight" in found.question
    with pytest.raises(ValueError, match="PatientWeight, found none: state it"):
        read_dicom_pet(folder, "bw")
    stated = read_dicom_pet(folder, "bw", {"PatientWeight": 35}).volume
    assert stated.array == pytest.approx(stored() * per_bqml() / 2, rel=1e-6)


def test_stored_suv_stays_of_its_kind(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt", Units="GML", SUVType="LBMJANMA")
    assert read_dicom_pet(folder).volume.unit == "SUVlbm"
    assert read_dicom_pet(folder).volume.array == pytest.approx(stored())
    body = read_dicom_pet(folder, "bw").volume
    assert body.array == pytest.approx(stored() * (6680 + 216 * 70 / 1.8**2) / 9270, rel=1e-5)
    assert read_dicom_pet(series(tmp_path / "bw", Units="GML")).volume.unit == "SUV"
    with pytest.raises(ValueError, match="brought to Bq/mL"):
        read_dicom_pet(folder, "Bq/mL")


def test_pet_beside_its_ct_is_found(tmp_path: Path) -> None:
    folder = series(tmp_path / "both")
    for n in range(9):
        write_slice(folder / f"ct{n}.dcm", PIXELS[0], (0.0, 0.0, 3.0 * n), SeriesInstanceUID="1.2.3.9")
    assert read_dicom_pet(folder).volume.array == pytest.approx(stored())


def test_ct_is_not_pet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Modality PT\) in .*, found CT"):
        read_dicom_pet(series(tmp_path / "ct", Modality="CT"))


def with_private(folder: Path, suv: float | None, concentration: float | None) -> None:
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        block = data.private_block(0x7053, "Philips PET Private Group", create=True)
        for element, value in ((0x00, suv), (0x09, concentration)):
            if value is not None:
                block.add_new(element, "DS", str(value * (1 + 0.5 * (path.stem == "1"))))
        data.save_as(path)


def test_philips_counts_by_the_factors_of_each_slice(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", Units="CNTS")
    with pytest.raises(ValueError, match="7053,1000"):
        read_dicom_pet(folder)
    with_private(folder, 0.002, None)
    slices = np.array([1, 1.5, 1]).reshape(3, 1, 1)
    found = read_dicom_pet(folder).volume
    assert found.unit == "SUV"
    assert found.array == pytest.approx(stored() * 0.002 * slices, rel=1e-6)
    with pytest.raises(ValueError, match="brought to Bq/mL"):
        read_dicom_pet(folder, "Bq/mL")
    other = series(tmp_path / "b", Units="CNTS")
    with_private(other, None, 4.0)
    assert read_dicom_pet(other).volume.unit == "Bq/mL"
    assert read_dicom_pet(other).volume.array == pytest.approx(stored() * 4 * slices, rel=1e-6)
    assert read_dicom_pet(other, "bw").volume.array == pytest.approx(stored() * 4 * slices * per_bqml(), rel=1e-6)


def test_the_scan_time_of_ge(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt", SeriesTime="120000")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240315104500")
        data.save_as(path)
    assert read_dicom_pet(folder, "bw").volume.array == pytest.approx(stored() * per_bqml(45), rel=1e-6)


def test_images_not_corrected_for_decay_have_a_factor_each(tmp_path: Path) -> None:
    folder = series(tmp_path / "pt", DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration=0,
                    at=lambda n: {"AcquisitionTime": f"11{10 * n:02d}00"})
    wanted = np.array([per_bqml(60 + 10 * n) for n in range(3)]).reshape(3, 1, 1)
    assert read_dicom_pet(folder, "bw").volume.array == pytest.approx(stored() * wanted, rel=1e-6)


def test_an_enhanced_image_states_megabecquerels_and_its_moment(tmp_path: Path) -> None:
    shared = {
        "PixelValueTransformationSequence": one(RescaleSlope=2, RescaleIntercept=0, RescaleType="US"),
        "RealWorldValueMappingSequence": one(MeasurementUnitsCodeSequence=one(CodeValue="Bq/ml"))}
    path = write_enhanced(
        tmp_path / "e.dcm", PIXELS, [(0, 0, 2.5 * n) for n in range(3)], shared=shared, SOPClassUID=ENHANCED,
        Modality="PT", DecayCorrected="YES", AttenuationCorrected="YES", DecayCorrectionDateTime="20240315103000",
        SeriesDate="20240315", SeriesTime="120000", PatientWeight=70,
        RadiopharmaceuticalInformationSequence=injected(
            RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime="20240315100000",
            RadionuclideTotalDose=350))
    found = read_dicom_pet(path, "bw")
    assert found.volume.array == pytest.approx(PIXELS * 2 * per_bqml(30), rel=1e-6)


def test_a_unit_is_stated_and_never_guessed(tmp_path: Path) -> None:
    array = np.random.default_rng(1).random((3, 4, 5)).astype(np.float32)
    matrix = np.diag([-4.0, -4.0, 3.0, 1])
    write_volume(Volume(array, matrix, "a.u."), tmp_path / "p.nii.gz")
    assert own_image(tmp_path / "p.nii.gz") is None
    bids = tmp_path / "p.json"
    bids.write_text(json.dumps({"Units": "kBq/mL", "TracerName": "FDG"}))
    found = own_image(tmp_path / "p.nii.gz")
    assert found is not None
    assert found.unit == "Bq/mL"
    assert found.array == pytest.approx(1000 * array)
    bids.write_text(json.dumps({"Units": "g/ml"}))
    again = own_image(tmp_path / "p.nii.gz")
    assert again is not None
    assert (again.unit, again.ijk_to_ras.tolist()) == ("SUV", matrix.tolist())
    bids.write_text(json.dumps({"unit": "HU"}))
    with pytest.raises(ValueError, match="not the CT"):
        own_image(tmp_path / "p.nii.gz")
    bids.write_text(json.dumps({"unit": 3}))
    with pytest.raises(ValueError, match='a text as "unit"'):
        own_image(tmp_path / "p.nii.gz")
    bids.write_text(json.dumps({"TracerName": "FDG"}))
    assert own_image(tmp_path / "p.nii.gz") is None


@pytest.mark.parametrize(("unit", "low", "high", "said"), [
    ("Bq/mL", 0, 20000, None), ("SUV", -0.2, 12, None), ("SUV", 0, 20000, "Bq/mL?"), ("Bq/mL", 0, 12, "SUV or kBq/mL"),
    ("SUV", -1000, 1500, "is it a CT"), ("a.u.", -1000, 1500, "is it a CT"), ("SUV", 0, 23, "label map"),
    ("a.u.", 0, 0.17, "1/cm"), ("a.u.", 0, 23, None),
])
def test_what_does_not_look_like_pet_is_questioned(unit: str, low: float, high: float, said: str | None) -> None:
    found = question_pet(Volume(np.linspace(low, high, 24).reshape(2, 3, 4), np.eye(4), unit))
    assert found is None if said is None else found is not None and said in found


def test_units_that_pet_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="choose the PET, not the CT"):
        question_pet(Volume(np.ones((2, 3, 4)), np.eye(4), "HU"))
    with pytest.raises(ValueError, match="activity above 0"):
        question_pet(Volume(np.zeros((2, 3, 4)), np.eye(4), "SUV"))


def ecat(path: Path, frames: list[np.ndarray], position: int = 3, kind: int = 7, scale: float = 0.5,
         units: bytes = b"Bq/cc", number: int = 6) -> Path:
    """An ECAT 7 volume by the layout of its manual: main header, list of matrices, and blocks of each frame."""
    slices, rows, columns = frames[0].shape
    dtype = {6: ">i2", 5: ">f4"}[number]
    blocks = -(-frames[0].size * np.dtype(dtype).itemsize // 512)
    main = bytearray(512)
    main[:9] = b"MATRIX72v"
    struct.pack_into(">H", main, 50, kind)
    struct.pack_into(">f", main, 144, 2.0)
    struct.pack_into(">H", main, 330, position)
    main[466:466 + len(units)] = units
    words, body, at = [31 - len(frames), 2, 0, len(frames)], b"", 3
    for n, frame in enumerate(frames):
        words += [(1 << 16) + n + 1, at, at + blocks, 1]
        head = bytearray(512)
        struct.pack_into(">5H", head, 0, number, 3, columns, rows, slices)
        struct.pack_into(">f", head, 26, scale)
        struct.pack_into(">3f", head, 34, 0.2, 0.25, 0.3)
        body += bytes(head) + frame.astype(dtype).tobytes().ljust(512 * blocks, b"\0")
        at += blocks + 1
    listing = struct.pack(">128i", *words, *[0] * (128 - len(words)))
    data = bytes(main) + listing + body
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.v", "a.v.gz"])
def test_an_ecat_volume(tmp_path: Path, name: str) -> None:
    frame = PIXELS.astype(np.int16)
    path = ecat(tmp_path / name, [frame])
    assert is_ecat(path)
    found = read_ecat(path)
    assert found.unit == "Bq/mL"
    assert found.array == pytest.approx(frame.astype(float))  # scale .5, calibration 2
    assert found.ijk_to_ras @ [1.5, 2, 0, 1] == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert np.diag(found.ijk_to_ras)[:3] == pytest.approx([-2, -2.5, -3])
    assert np.diag(read_ecat(ecat(path, [frame], position=2)).ijk_to_ras)[:3] == pytest.approx([2, -2.5, 3])
    with pytest.warns(UserWarning, match="position"):
        read_ecat(ecat(path, [frame], position=8))
    own = own_image(ecat(path, [frame]))
    assert own is not None
    assert own.unit == "Bq/mL"
    floats = read_ecat(ecat(path, [frame / 3], kind=15, number=5))
    assert floats.array == pytest.approx(frame / 3, rel=1e-6)


def test_frames_of_ecat_are_named(tmp_path: Path) -> None:
    path = ecat(tmp_path / "a.v", [PIXELS.astype(np.int16), PIXELS.astype(np.int16) + 7])
    with pytest.raises(ValueError, match="found 2: name one of 0 to 1"):
        read_ecat(path)
    assert read_ecat(path, frame=1).array == pytest.approx(PIXELS + 7.0)
    with pytest.raises(ValueError, match="found 2: name another"):
        read_ecat(path, frame=2)


def test_ecat_files_refused(tmp_path: Path) -> None:
    path = ecat(tmp_path / "a.v", [PIXELS.astype(np.int16)])
    whole = path.read_bytes()
    for length in (700, 1600):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut off"):
            read_ecat(path)
    with pytest.raises(ValueError, match="found a 3D sinogram"):
        read_ecat(ecat(path, [PIXELS.astype(np.int16)], kind=11))
    with pytest.raises(ValueError, match="positive scale factor"):
        read_ecat(ecat(path, [PIXELS.astype(np.int16)], scale=0.0))
    (tmp_path / "b.v").write_bytes(b"nothing of this kind")
    with pytest.raises(ValueError, match="another kind of file"):
        read_ecat(tmp_path / "b.v")
    packed = gzip.compress(whole)
    (tmp_path / "c.v.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="copy it again"):
        read_ecat(tmp_path / "c.v.gz")


@pytest.mark.filterwarnings("ignore:.*position of the patient")
def test_the_sample_of_ecat() -> None:
    folder = samples("pet_ecat_synthetic")
    name = "synthetic_ecat_integer_16x16x16x4"
    same = loadmat(folder / f"{name}.mat")
    for frame in range(4):
        found = read_ecat(folder / f"{name}.v.gz", frame=frame)
        assert np.array_equal(found.array, same[f"frame_{frame + 1}_pixel_data"])

"""Everything synthetic says so, in names and files, and holds nothing of the source's identity."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import write_slices
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.synthesis.dicom_series import write_series
from diffusion_engine.synthesis.provenance import (
    ATTRIBUTE_PREFIX,
    MARK,
    Provenance,
    check_clean,
    identity_of,
    left_over,
)
from diffusion_engine.volume import Volume
from labelled_bodies import MATRIX

MADE = Provenance("generated", "ct-tissue", 7, ("lung", "bone"), {"guidance": 2.0})


def image(unit: str = "HU") -> Volume:
    values = np.random.default_rng(0).normal(0, 300, (3, 6, 5)).astype(np.float32)
    return Volume(values, MATRIX, unit)


@pytest.fixture
def source(tmp_path: Path) -> list[pydicom.Dataset]:
    other = pydicom.Dataset()
    other.PatientID, other.StudyInstanceUID = "NESTED-99", "1.2.3.99"
    write_slices(
        tmp_path / "source", np.zeros((2, 4, 4)), PatientName="Miller^Anna", PatientID="A7", StudyDate="20200131",
        PatientBirthDate="19500203", AccessionNumber="ACC12345", FrameOfReferenceUID="1.2.3.5", StudyID="1",
        InstitutionName="Hospital of Somewhere", ReferencedStudySequence=[other],
    )
    return [pydicom.dcmread(path) for path in sorted((tmp_path / "source").iterdir())]


def test_names_attributes_and_descriptions_say_so() -> None:
    assert MADE.patient.startswith("SYNTHETIC-")
    assert MADE.node_name("CT", 3) == "Synthetic CT 3"
    attributes = MADE.attributes()
    assert all(name.startswith(ATTRIBUTE_PREFIX) for name in attributes)
    assert attributes["DiffusionSynth.Synthetic"] == "yes"
    assert attributes["DiffusionSynth.Setting.guidance"] == "2.0"
    assert MADE.description().startswith("SYNTHETIC (generated), prior ct-tissue, seed 7")
    assert "Not for diagnostic use" in MADE.description()
    assert len(MADE.description(40)) == 40
    content = json.loads(json.dumps(MADE.to_dict()))
    assert (content["synthetic"], content["patient_id"]) == (True, MADE.patient)
    assert Provenance("lesion", "x", 0).patient != Provenance("lesion", "x", 0).patient


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a.nii", "a.mha"])
def test_image_files_say_so_and_keep_their_unit(tmp_path: Path, name: str) -> None:
    write_volume(image(), tmp_path / name, MADE.description())
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / name))
    reader.ReadImageInformation()
    assert any(MARK in reader.GetMetaData(key) for key in reader.GetMetaDataKeys())
    again = read_volume(tmp_path / name)
    assert again.unit == "HU"
    assert np.array_equal(again.array, image().array)


def test_a_short_note_of_a_nifti_file_ends_within_its_field(tmp_path: Path) -> None:
    write_volume(image("1/mm"), tmp_path / "a.nii", MADE.description())
    note = (tmp_path / "a.nii").read_bytes()[148:228].rstrip(b"\0").decode()
    assert note.startswith("unit=1/mm; SYNTHETIC (generated), prior ct-tissue, seed 7")
    assert note.endswith("...")
    assert read_volume(tmp_path / "a.nii").unit == "1/mm"


@pytest.mark.parametrize(("modality", "unit"), [("CT", "HU"), ("MR", "a.u.")])
def test_a_series_is_a_new_patients_and_can_be_read(
    tmp_path: Path, source: list[pydicom.Dataset], modality: str, unit: str
) -> None:
    identity = identity_of(source)
    files = write_series(image(unit), tmp_path / "made", MADE, modality, identity)
    headers = [pydicom.dcmread(path) for path in files]
    assert len({data.SOPInstanceUID for data in headers}) == len(files) == 3
    for data in headers:
        assert data.PatientID.startswith(MARK)
        assert str(data.PatientName).startswith(MARK)
        assert data.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert data.DerivationDescription.startswith(MARK)
        assert data.SeriesDescription.startswith(MARK)
        assert data.StudyInstanceUID != source[0].StudyInstanceUID
        assert left_over(data, identity) == []
    again = read_volume(tmp_path / "made")
    span = float(np.ptp(image().array))
    assert np.abs(again.array - image().array).max() <= span / 65535
    assert np.allclose(again.ijk_to_ras, MATRIX)
    assert again.unit == unit


def test_what_is_left_of_a_source_is_found_wherever_it_stands(source: list[pydicom.Dataset]) -> None:
    identity = identity_of(source)
    assert "NESTED-99" in identity["PatientID"], "sequences are looked into"
    for data in source:
        assert {"PatientName in PatientName", "StudyInstanceUID in StudyInstanceUID"} <= set(left_over(data, identity))
    copied = pydicom.Dataset()
    copied.PatientID = "A7"
    assert left_over(copied, identity) == ["PatientID in PatientID"]
    copied.PatientID, copied.SeriesDescription, copied.SeriesNumber = "B", "A7, study of 1", 1
    assert left_over(copied, identity) == [], "short texts are looked for in their own fields alone"
    hidden = pydicom.Dataset()
    item = pydicom.Dataset()
    item.ImageComments = "after acc12345"
    hidden.ReferencedStudySequence = [item]
    assert left_over(hidden, identity) == ["AccessionNumber in ImageComments"]
    assert left_over("segments of MILLER, drawn", identity) == ["PatientName in the text"]
    nested = {"cases": [{"labels": {"Anna's lesion of 19500203": 1}}]}
    assert left_over(nested, identity) == ["PatientBirthDate in labels"]
    with pytest.raises(ValueError, match="found PatientName in the text: do not pass it on") as refused:
        check_clean("miller", identity)
    assert "iller" not in str(refused.value), "the sentence itself gives nothing away"
    assert left_over({"Miller": "Miller"}, identity) == ["PatientName in a key", "PatientName in the text"]


def test_the_day_of_making_is_no_identity(source: list[pydicom.Dataset]) -> None:
    made = pydicom.Dataset()
    made.StudyDate = "20200131"
    identity = identity_of(source)
    assert left_over(made, identity) == ["StudyDate in StudyDate"]
    assert left_over(made, identity, datetime.date(2020, 1, 31)) == []


def test_a_series_that_would_hold_an_identity_is_not_written(tmp_path: Path, source: list[pydicom.Dataset]) -> None:
    named = Provenance("generated", "of Miller", 0)
    with pytest.raises(ValueError, match="found PatientName in DerivationDescription"):
        write_series(image(), tmp_path / "made", named, "CT", identity_of(source))
    assert not (tmp_path / "made").exists()


def test_bad_series_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected CT or MR as modality of a synthetic series, found 'PT'"):
        write_series(image(), tmp_path / "made", MADE, "PT")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(ValueError, match="expected an empty folder"):
        write_series(image(), tmp_path / "full", MADE)
    broken = image()
    broken.array[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        write_series(broken, tmp_path / "made", MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "copied"}, "as kind of synthesis, found 'copied'"), ({"seed": -1}, "expected a seed of 0 or more"),
        ({"identity": "Anna Miller"}, "expected 1 to 32 letters and digits"),
    ],
)
def test_bad_provenance_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Provenance(**{"kind": "generated", "prior": "x", "seed": 0, **fields})

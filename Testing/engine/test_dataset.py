"""Data sets of synthetic cases: layouts, manifest, going on after a stop, nothing left after a cancel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.io.images import read_volume
from diffusion_engine.synthesis.classes import CLASSES
from diffusion_engine.synthesis.dataset import Plan, build, case_seed
from diffusion_engine.synthesis.deform import Deformation
from diffusion_engine.synthesis.layouts import case_files, index_files
from diffusion_engine.volume import Volume
from labelled_bodies import MATRIX

LABELS = dict(enumerate(CLASSES))
SHAPE = (4, 24, 20)


def source(seed: int = 0) -> Volume:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 4:20, 3:17] = 2
    labels[:, 8:14, 6 + seed : 12 + seed] = 6
    return Volume(labels, MATRIX, "label")


def image_of(labels: Volume, seed: int) -> Volume:
    noise = np.random.default_rng(seed).normal(0, 10, labels.array.shape)
    return Volume((labels.array * 100.0 + noise).astype(np.float32), labels.ijk_to_ras, "HU")


def plan(**changes: object) -> Plan:
    usual = {"name": "Trunk", "cases_each": 2, "labels": LABELS, "prior": "ct-tissue",
             "deformation": Deformation(4.0, 10.0, 0.5)}
    return Plan(**{**usual, **changes})


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_nnunet_layout_with_its_manifest(tmp_path: Path) -> None:
    steps = list(build([source(), source(1)], tmp_path / "a", plan(), image_of))
    assert [(step.done, step.total, step.found) for step in steps] == [(n, 4, False) for n in (1, 2, 3, 4)]
    images = sorted((tmp_path / "a" / "imagesTr").iterdir())
    assert [path.name for path in images] == [f"SYNTHETIC{n:04d}_0000.nii.gz" for n in (1, 2, 3, 4)]
    content = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "CT"}
    assert content["labels"]["background"] == 0
    assert content["labels"]["bone"] == 6
    assert (content["numTraining"], content["file_ending"]) == (4, ".nii.gz")
    assert content["description"].startswith("SYNTHETIC")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["synthetic"] is True
    assert [row["source"] for row in manifest["cases"]] == [1, 1, 2, 2]
    for row in manifest["cases"]:
        image, labels = (read_volume(tmp_path / "a" / path) for path in row["files"])
        assert image.unit == "HU"
        assert np.allclose(image.ijk_to_ras, labels.ijk_to_ras)
        assert np.abs(image.array - labels.array * 100.0).max() < 60, "each image follows its own label map"
        assert row["patient_id"].startswith("SYNTHETIC")
        assert {path: files(tmp_path / "a")[path] for path in row["files"]} == row["files"]
    assert len({row["seed"] for row in manifest["cases"]}) == 4


def test_bids_like_layout(tmp_path: Path) -> None:
    list(build([source()], tmp_path / "b", plan(layout="bids", cases_each=1), image_of))
    names = set(files(tmp_path / "b"))
    assert {
        "dataset_description.json", "participants.tsv", "README", "sub-SYNTHETIC0001/ct/sub-SYNTHETIC0001_ct.nii.gz",
        "sub-SYNTHETIC0001/ct/sub-SYNTHETIC0001_ct.json", "derivatives/segmentations/dseg.tsv",
        "derivatives/segmentations/sub-SYNTHETIC0001/ct/sub-SYNTHETIC0001_dseg.nii.gz",
        "derivatives/segmentations/dataset_description.json", "manifest.json",
    } == names
    note = json.loads((tmp_path / "b" / "sub-SYNTHETIC0001" / "ct" / "sub-SYNTHETIC0001_ct.json").read_text())
    assert note["synthetic"] is True
    table = (tmp_path / "b" / "participants.tsv").read_text().splitlines()
    assert table == ["participant_id\tsource", "sub-SYNTHETIC0001\t1"]
    assert case_files("bids", 2, "MR").image == "sub-SYNTHETIC0002/anat/sub-SYNTHETIC0002_MRw.nii.gz"
    assert "6\tbone" in index_files("bids", "T", "CT", LABELS, [])["derivatives/segmentations/dseg.tsv"]


def test_after_an_error_it_goes_on_and_ends_as_without_one(tmp_path: Path) -> None:
    list(build([source()], tmp_path / "whole", plan(cases_each=3), image_of))
    calls: list[int] = []

    def failing(labels: Volume, seed: int) -> Volume:
        calls.append(seed)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return image_of(labels, seed)

    steps = build([source()], tmp_path / "part", plan(cases_each=3), failing)
    assert next(steps).done == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        next(steps)
    assert len(list((tmp_path / "part" / "imagesTr").iterdir())) == 1
    assert not list((tmp_path / "part").glob(".making-*")), "nothing half made"
    found = [step.found for step in build([source()], tmp_path / "part", plan(cases_each=3), failing)]
    assert found == [True, False, False]
    assert files(tmp_path / "part") == files(tmp_path / "whole")


def test_a_damaged_case_and_leftovers_of_a_kill_are_made_good(tmp_path: Path) -> None:
    place = tmp_path / "a"
    list(build([source()], place, plan(), image_of))
    wanted = files(place)
    (place / "imagesTr" / "SYNTHETIC0002_0000.nii.gz").write_bytes(b"half")
    (place / ".making-12345678" / "imagesTr").mkdir(parents=True)
    assert [step.found for step in build([source()], place, plan(), image_of)] == [True, False]
    assert files(place) == wanted
    assert not list(place.glob(".making-*"))


def test_a_cancel_leaves_nothing_behind(tmp_path: Path) -> None:
    steps = build([source()], tmp_path / "new" / "deeper", plan(), image_of)
    next(steps)
    assert files(tmp_path / "new")
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_a_cancel_of_what_went_on_leaves_what_was_there(tmp_path: Path) -> None:
    def once(labels: Volume, seed: int, calls: list[int] = []) -> Volume:  # noqa: B006
        calls.append(seed)
        if len(calls) > 1:
            raise RuntimeError("stop")
        return image_of(labels, seed)

    with pytest.raises(RuntimeError, match="stop"):
        list(build([source()], tmp_path / "a", plan(cases_each=3), once))
    before = files(tmp_path / "a")
    steps = build([source()], tmp_path / "a", plan(cases_each=3), image_of)
    assert [next(steps).found, next(steps).found] == [True, False]
    steps.close()
    assert files(tmp_path / "a") == before


def test_cases_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    assert case_seed(0, 1, 1) == case_seed(0, 1, 1)
    assert len({case_seed(seed, 1, number) for seed in (0, 1) for number in (1, 2)}) == 4
    for name, count in (("few", 1), ("many", 2)):
        list(build([source()], tmp_path / name, plan(cases_each=count), image_of))
    first = "imagesTr/SYNTHETIC0001_0000.nii.gz"
    assert files(tmp_path / "few")[first] == files(tmp_path / "many")[first]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases_each": 0}, "expected at least one case of each segmentation, found 0"),
        ({"layout": "heap"}, "as layout, found 'heap'"), ({"modality": "PT"}, "found 'PT'"),
        ({"name": "a b/c"}, "as name of a data set, found 'a b/c'"), ({"seed": -1}, "expected a seed of 0 or more"),
        ({"labels": {0: "air", 2: "bone"}}, r"without gaps for nnU-Net, found \[0, 2\]"),
    ],
)
def test_bad_plans_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_bad_segmentations_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    def begin(*sources: Volume, **changes: object) -> None:
        build(list(sources), tmp_path / "a", plan(**changes), image_of)

    with pytest.raises(ValueError, match="expected at least one segmentation"):
        begin()
    with pytest.raises(ValueError, match="in segmentation 2, found it empty"):
        begin(source(), Volume(np.zeros(SHAPE, np.uint8), MATRIX, "label"))
    with pytest.raises(ValueError, match="at least two slices"):
        begin(Volume(source().array[:1], MATRIX, "label"))
    with pytest.raises(ValueError, match="found float32"):
        begin(Volume(source().array.astype(np.float32), MATRIX, "label"))
    with pytest.raises(ValueError, match=r"every label of segmentation 1, found none for \[6\]"):
        begin(source(), labels={0: "air", 1: "lung", 2: "fat"})
    with pytest.raises(ValueError, match="in the plan, found PatientName in"):
        build([source()], tmp_path / "a", plan(labels={**LABELS, 7: "Miller's"}), image_of, {"PatientName": {"Miller"}})
    assert list(tmp_path.iterdir()) == []


def test_folders_with_something_else_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "a"
    list(build([source()], place, plan(), image_of))
    before = files(place)
    for other in (build([source()], place, plan(seed=1), image_of), build([source(1)], place, plan(), image_of)):
        with pytest.raises(ValueError, match="found another one: choose an empty folder"):
            next(other)
    assert files(place) == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected an empty folder for the data set"):
        next(build([source()], tmp_path / "b", plan(), image_of))
    (tmp_path / "c").write_text("")
    with pytest.raises(ValueError, match="found the file"):
        next(build([source()], tmp_path / "c", plan(), image_of))


def test_images_on_another_grid_or_with_nan_are_refused(tmp_path: Path) -> None:
    def smaller(labels: Volume, seed: int) -> Volume:
        return image_of(labels.crop(rows=(0, 10)), seed)

    def broken(labels: Volume, seed: int) -> Volume:
        return labels.with_array(np.full(SHAPE, np.nan, np.float32))

    for make, message in ((smaller, r"grid of \(4, 24, 20\) voxels, found \(4, 10, 20\)"), (broken, "NaN")):
        with pytest.raises(ValueError, match=message):
            next(build([source()], tmp_path / "a", plan(), make))
        assert not list((tmp_path / "a").rglob("*.nii.gz"))

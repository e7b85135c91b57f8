"""Measured data that lie anywhere, as the files of a job's folder: with all that belongs to them, under own names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.jobs.job import read_job, write_json
from diffusion_engine.modalities.ct.files import FILES as CT_FILES
from diffusion_engine.modalities.mri.files import FILES
from diffusion_engine.modalities.mri.parts import read_anywhere
from diffusion_engine.modalities.rules import Parts, plain_parts
from mri_files import describe, write_bart
from mri_kspaces import line_mask, samples

AXES = ["coil", "row", "column"]


def in_folder(parts: Parts, place: Path, modality: str) -> Path:
    """A job's folder of parts."""
    place.mkdir()
    for name, source in parts.copies.items():
        (place / name).write_bytes(source.read_bytes())
    for name, content in parts.written.items():
        write_json(place / name, content)
    write_json(place / "job.json", {
        "kind": "measured", "input": parts.input, "geometry": parts.description, "settings": {"modality": modality},
    })
    return place


def test_raw_data_with_header_need_no_description(tmp_path: Path) -> None:
    path = tmp_path / "Scan 1.H5"
    path.write_bytes(b"data")
    parts = FILES.parts(path, None)
    assert parts == Parts("kspace.h5", None, {"kspace.h5": path})
    job = read_job(in_folder(parts, tmp_path / "job", "mri"))
    assert (job.input, job.geometry) == ("kspace.h5", None)
    with pytest.raises(ValueError, match=r"raw data at .*none\.h5, found none: check the path"):
        FILES.parts(tmp_path / "none.h5", None)


@pytest.mark.parametrize("named", ["scan.cfl", "scan.hdr"])
def test_both_files_of_bart_and_those_that_a_description_names_come_along(named: str, tmp_path: Path) -> None:
    mask, values = line_mask(24, 32), samples()[0]
    whole = (values * mask).transpose(2, 1, 0)[:, :, None]
    write_bart(tmp_path / "scan", whole)
    write_bart(tmp_path / "weights", np.broadcast_to(mask.T[:, :, None, None], (32, 24, 1, 1)))
    description = describe(tmp_path / "scan.cfl", mask="weights", pixel_mm=[1, 1])
    parts = FILES.parts(tmp_path / named, description)
    assert set(parts.copies) == {"kspace.cfl", "kspace.hdr", "kspace.mask.cfl", "kspace.mask.hdr"}
    place = in_folder(parts, tmp_path / "job", "mri")
    job = read_job(place)
    assert job.geometry is not None
    found = FILES.read(place / job.input, place / job.geometry)
    wanted = FILES.read(tmp_path / "scan.cfl", description)
    np.testing.assert_array_equal(found.values, wanted.values)
    np.testing.assert_array_equal(found.mask, wanted.mask)
    assert not found.mask.all()


def test_a_description_by_its_content_may_name_files_elsewhere(tmp_path: Path) -> None:
    path, maps = tmp_path / "k.npy", tmp_path / "other" / "m.npy"
    maps.parent.mkdir()
    np.save(path, samples()[0])
    np.save(maps, np.ones_like(samples()[0]))
    said = {"axes": AXES, "maps": str(maps), "pixel_mm": [1, 1]}
    parts = FILES.parts(path, said)
    assert parts.written == {"kspace.json": {**said, "maps": "kspace.maps.npy"}}
    found = read_anywhere(path, said)
    np.testing.assert_array_equal(found.maps[0], np.load(maps))
    np.testing.assert_array_equal(FILES.read(*_paths(in_folder(parts, tmp_path / "job", "mri"))).maps, found.maps)
    with pytest.raises(ValueError, match=r"beside .*k\.json as maps, found '.*m\.npy': put it there"):
        FILES.parts(path, describe(path, **said))
    with pytest.raises(ValueError, match=r"raw data at .*none\.npy, found none"):
        FILES.parts(path, {**said, "maps": "none.npy"})


@pytest.mark.parametrize(("text", "words"), [("{", "expected JSON in"), ("[1]", "one JSON object in .*found list")])
def test_a_description_that_is_none_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "k.npy"
    path.write_bytes(b"x")
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        FILES.parts(path, path.with_suffix(".json"))


def test_a_geometry_is_needed_where_the_data_are_described(tmp_path: Path) -> None:
    place = tmp_path / "job"
    place.mkdir()
    (place / "sinogram.nrrd").write_bytes(b"x")
    for kind, geometry, modality in (("measured", None, "ct"), ("simulate", "sinogram.nrrd", "mri")):
        write_json(place / "job.json", {
            "kind": kind, "input": "sinogram.nrrd", "geometry": geometry, "settings": {"modality": modality}})
        with pytest.raises(ValueError, match="expected a geometry with measured data and only there"):
            read_job(place)
    with pytest.raises(ValueError, match=r"geometry must be an existing \.json file, but '' is not"):
        CT_FILES.parts(place / "sinogram.nrrd", None)


def test_a_modality_without_rules_of_its_own_gets_its_files_copied(tmp_path: Path) -> None:
    path, description = tmp_path / "job.nrrd", tmp_path / "d.json"
    path.write_bytes(b"x")
    description.write_text(json.dumps({}), encoding="utf-8")
    assert plain_parts(path, description) == Parts(
        "measured.nrrd", "description.json", {"measured.nrrd": path, "description.json": description})
    assert plain_parts(path, {"a": 1}).written == {"description.json": {"a": 1}}
    assert plain_parts(path, None).description is None
    with pytest.raises(ValueError, match=r"measured data at .*none, found none: check the path"):
        plain_parts(tmp_path / "none", None)


def _paths(place: Path) -> tuple[Path, Path]:
    return place / "kspace.npy", place / "kspace.json"

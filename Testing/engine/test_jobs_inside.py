"""A job keeps to its folder: what leads elsewhere is refused, and its own files are no results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.checks import is_plain
from diffusion_engine.io.images import write_volume
from diffusion_engine.jobs import job, process, worker
from diffusion_engine.modalities.ct.files import GEOMETRY, SINOGRAM
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.physics.ct_geometry import CTGeometry
from diffusion_engine.volume import Volume

links = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished job with one result, beside a file that is none of its own."""
    image = Volume(np.full((2, 6, 5), 40.0, np.float32), np.eye(4), "HU")
    place = job.write_job(tmp_path / "job", image, {})
    write_volume(image, place / "mean.nrrd")
    write_volume(image, tmp_path / "mine.nrrd")
    listed(place, {"mean": "mean.nrrd"})
    return place


def listed(place: Path, files: object) -> None:
    (place / job.RESULT).write_text(json.dumps({"files": files}))


def content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_good_result_reads_and_is_cleared(folder: Path) -> None:
    assert job.read_result(folder)[1] == {"mean": folder / "mean.nrrd"}
    job.clear_outputs(folder)
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT}


@pytest.mark.parametrize(
    "name", ["../mine.nrrd", "ABSOLUTE", "sub/x.nrrd", "..", ".", "", "..\\mine.nrrd", "job.json", "input.nrrd",
             "./input.nrrd", "worker.log", "preview.nrrd", "run.lock", 3, None, ["mean.nrrd"], "a\0.nrrd"],
)  # fmt: skip
def test_what_is_no_result_is_neither_read_nor_deleted(folder: Path, tmp_path: Path, name: object) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x.nrrd").write_text("mine")
    (folder / "worker.log").write_text("log")
    name = str(tmp_path / "mine.nrrd") if name == "ABSOLUTE" else name
    listed(folder, {"mean": "mean.nrrd", "other": name})
    before = content(tmp_path)
    with pytest.raises(ValueError, match=r"expected .*results") as caught:
        job.read_result(folder)
    assert "\n" not in str(caught.value)
    job.clear_outputs(folder)
    gone = {str(folder / name) for name in ("mean.nrrd", job.RESULT, job.PREVIEW)}
    assert content(tmp_path) == {path: held for path, held in before.items() if path not in gone}


def test_a_list_of_a_killed_run_deletes_nothing_of_the_jobs_own(folder: Path, tmp_path: Path) -> None:
    (folder / job.RESULT).unlink()
    (folder / job.STAGING).mkdir()
    listed(folder / job.STAGING, {"a": "mean.nrrd", "b": "input.nrrd", "c": "../mine.nrrd", "d": "job.json"})
    job.clear_outputs(folder)
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT}
    assert (tmp_path / "mine.nrrd").exists()


@pytest.mark.parametrize(
    "damage", ["[]", "3", "{}", '{"files": ["mean.nrrd"]}', '{"files": 1}', "[" * 100_000, "\udcff"]
)
def test_a_damaged_result_is_one_sentence_and_deletes_nothing(folder: Path, damage: str) -> None:
    (folder / job.RESULT).write_bytes(damage.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="expected") as caught:
        job.read_result(folder)
    assert "\n" not in str(caught.value)
    job.clear_outputs(folder)
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT, "mean.nrrd"}


def test_inputs_of_other_names_are_the_jobs_own_too(folder: Path) -> None:
    (folder / job.INPUT).rename(folder / "chest.nrrd")
    settled = json.loads((folder / job.JOB).read_text())
    (folder / job.JOB).write_text(json.dumps({**settled, "input": "chest.nrrd"}))
    assert job.read_job(folder).input == "chest.nrrd"
    listed(folder, {"mean": "mean.nrrd", "other": "chest.nrrd"})
    with pytest.raises(ValueError, match="job's own files"):
        job.read_result(folder)
    job.clear_outputs(folder)
    assert (folder / "chest.nrrd").exists()
    assert not (folder / "mean.nrrd").exists()


def test_what_the_geometry_names_is_the_jobs_own_too(tmp_path: Path) -> None:
    geometry = CTGeometry("parallel", (0.0, 0.1, 0.2), 5, 1.0)
    place = job.write_job(tmp_path / "job", Measurement(np.ones((1, 3, 5), np.float32), geometry), {})
    (place / "noise.nrrd").write_text("variance")
    described = json.loads((place / GEOMETRY).read_text())
    (place / GEOMETRY).write_text(json.dumps({**described, "variance": "noise.nrrd"}))
    listed(place, {"a": "noise.nrrd", "b": SINOGRAM})
    assert job.read_job(place).geometry == GEOMETRY
    job.clear_outputs(place)
    assert {path.name for path in place.iterdir()} == {job.JOB, SINOGRAM, GEOMETRY, "noise.nrrd"}
    for name in ("../noise.nrrd", "none.nrrd", 3, str(place / "noise.nrrd")):
        (place / GEOMETRY).write_text(json.dumps({**described, "variance": name}))
        with pytest.raises(ValueError, match="as the variance of the job's input"):
            job.read_job(place)


@links
def test_links_out_of_the_folder_are_refused_and_not_followed(folder: Path, tmp_path: Path) -> None:
    mine = (tmp_path / "mine.nrrd").read_bytes()
    (folder / "tv.nrrd").symlink_to(tmp_path / "mine.nrrd")
    listed(folder, {"mean": "mean.nrrd", "tv": "tv.nrrd"})
    with pytest.raises(ValueError, match="link to elsewhere"):
        job.read_result(folder)
    (folder / job.INPUT).unlink()
    (folder / job.INPUT).symlink_to(tmp_path / "mine.nrrd")
    with pytest.raises(ValueError, match="link to elsewhere"):
        job.read_job(folder)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / job.RESULT).write_text('{"files": {"mean": "mean.nrrd"}}')
    for name in (job.STAGING, job.DRAWS):
        (folder / name).symlink_to(kept)
    (folder / job.LOG).symlink_to(tmp_path / "mine.nrrd")
    job.clear_outputs(folder)
    assert not job.fresh_log(folder).is_symlink()
    assert (kept / job.RESULT).exists()
    assert (tmp_path / "mine.nrrd").read_bytes() == mine
    assert not (folder / job.STAGING).is_symlink()


@links
def test_a_result_that_is_the_input_under_another_name_stays(folder: Path) -> None:
    os.link(folder / job.INPUT, folder / "twin.nrrd")
    listed(folder, {"twin": "twin.nrrd"})
    with pytest.raises(ValueError, match="job's own files"):
        job.read_result(folder)
    job.clear_outputs(folder)
    assert (folder / "twin.nrrd").exists()


@pytest.mark.parametrize(
    "change", [{"input": "../mine.nrrd"}, {"input": "/etc/hostname"}, {"input": 3}, {"input": None}, {"input": ["a"]},
               {"input": "."}, {"kind": ["measured"]}, {"kind": "measured", "geometry": "../g.json"},
               {"kind": "measured", "geometry": 1.5}, {"kind": "measured", "geometry": "none.json"}],
)  # fmt: skip
def test_a_job_names_its_own_files_only(folder: Path, change: dict) -> None:
    settled = json.loads((folder / job.JOB).read_text())
    (folder / job.JOB).write_text(json.dumps({**settled, **change}))
    with pytest.raises(ValueError, match="expected") as caught:
        job.read_job(folder)
    assert "\n" not in str(caught.value)


def test_a_job_file_with_a_byte_order_mark_reads(folder: Path) -> None:
    (folder / job.JOB).write_bytes(b"\xef\xbb\xbf" + (folder / job.JOB).read_bytes())
    assert job.read_job(folder).kind == "simulate"


def test_a_result_never_takes_the_place_of_the_input(folder: Path) -> None:
    before = (folder / job.INPUT).read_bytes()
    image = Volume(np.zeros((2, 6, 5), np.float32), np.eye(4), "HU")

    class Result:
        volumes, report = {"mean": image, "input": image}, {}

    with pytest.raises(ValueError, match="job's own files"):
        worker._deliver(folder, Result)
    assert (folder / job.INPUT).read_bytes() == before
    assert not (folder / job.STAGING).exists()


def test_a_folder_in_the_place_of_a_file_is_told_before_the_work(folder: Path) -> None:
    (folder / job.RESULT).unlink()
    job.check_free_names(folder)
    for name in (job.RESULT, job.PREVIEW, job.LOG, job.CANCEL, "run.lock", "fbp.nrrd"):
        (folder / name).mkdir()
        with pytest.raises(ValueError, match=f"no folder named {name}"):
            process.start(folder)
        job.clear_outputs(folder)
        (folder / name).rmdir()
    for name in (job.STAGING, job.DRAWS):
        (folder / name).touch()
        with pytest.raises(ValueError, match=f"no file named {name}"):
            process.start(folder)
        (folder / name).unlink()
    assert not (folder / "run.lock").exists()


def test_plain_names() -> None:
    assert all(map(is_plain, ("a", "Messung ß.nrrd", "..a", "胸部.json", ".hidden")))
    assert not any(map(is_plain, ("", ".", "..", "a/b", "/a", "a\\b", "\0", 1, None, Path("a"))))

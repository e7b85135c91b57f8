"""The job folder, and what is said before a job starts: time left, memory, disk space."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine import memory
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.jobs import forecast, job
from diffusion_engine.jobs.progress import TimeLeft
from diffusion_engine.modalities.ct.measurement import Measurement, read_measurement
from diffusion_engine.physics.ct_geometry import CTGeometry
from diffusion_engine.run import disk
from diffusion_engine.volume import Volume

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def source() -> Volume:
    return Volume(np.full((2, 6, 5), 40.0, np.float32), np.eye(4), "HU")


def test_a_simulation_job_reads_back(tmp_path: Path, source: Volume) -> None:
    folder = job.write_job(tmp_path / "new" / "job", source, {"views": 60, "slices": [0, 2]})
    assert job.read_job(folder) == job.Job("simulate", "input.nrrd", None, {"views": 60, "slices": [0, 2]})
    assert np.array_equal(read_volume(folder / "input.nrrd").array, source.array)


def test_a_measured_job_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((2, 3, 5)).astype(np.float32)
    geometry = CTGeometry("fan_flat", (0.0, 0.1, 1 / 3), 5, 1.2, 0.25, 500.0, 900.0)
    measured = Measurement(values, geometry, 2.5, "counts", 1e5)
    folder = job.write_job(tmp_path / "job", measured, {})
    assert job.read_job(folder).geometry == "geometry.json"
    again = read_measurement(folder / "sinogram.nrrd", folder / "geometry.json")
    assert (again.geometry, again.slice_spacing_mm, again.kind, again.i0) == (measured.geometry, 2.5, "counts", 1e5)
    assert np.array_equal(read_volume(folder / "sinogram.nrrd").array, values)


@pytest.mark.parametrize("variance", [
    None, np.full((1, 1, 1), 0.01**2), np.array(2.5e-5), np.array([[[1e-4]], [[2e-4]]], np.float32),
    np.array([1e-4, 2e-4, np.inf, 1e-4, 3e-4]), np.random.default_rng(0).random((2, 3, 5)) + 1e-9,
])
def test_a_measured_job_keeps_its_noise(tmp_path: Path, variance: np.ndarray | None) -> None:
    geometry = CTGeometry("parallel", (0.0, 0.1, 1 / 3), 5, 1.2)
    measured = Measurement(np.ones((2, 3, 5), np.float32), geometry, variance=variance)
    folder = job.write_job(tmp_path / "a job", measured, {})
    again = read_measurement(folder / "sinogram.nrrd", folder / "geometry.json")
    if variance is None:
        assert again.variance is None
    else:
        found, given = (np.broadcast_to(v, (2, 3, 5)) for v in (again.variance, variance))
        np.testing.assert_allclose(found, given, rtol=1e-12)
    counts = Measurement(np.ones((2, 3, 5), np.float32), geometry, 1.0, "counts", 1e4, 7.5)
    folder = job.write_job(tmp_path / "counts", counts, {})
    assert read_measurement(folder / "sinogram.nrrd", folder / "geometry.json").electronic_std == 7.5


def test_a_variance_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    geometry = CTGeometry("parallel", (0.0, 0.1, 1 / 3), 5, 1.2)
    measured = Measurement(np.ones((2, 3, 5), np.float32), geometry, variance=np.full((2, 3, 5), 1e-4))
    folder = job.write_job(tmp_path / "job", measured, {})
    assert (folder / "geometry.variance.nrrd").is_file()
    write_volume(Volume(np.full((2, 3, 4), 1e-4), np.eye(4), "variance"), folder / "geometry.variance.nrrd")
    with pytest.raises(ValueError, match="fits the sinogram"):
        read_measurement(folder / "sinogram.nrrd", folder / "geometry.json")
    (folder / "geometry.variance.nrrd").unlink()
    with pytest.raises(ValueError, match="found nothing"):
        read_measurement(folder / "sinogram.nrrd", folder / "geometry.json")


def test_a_failed_measured_job_leaves_no_variance_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = CTGeometry("parallel", (0.0, 0.1, 1 / 3), 5, 1.2)
    measured = Measurement(np.ones((2, 3, 5), np.float32), geometry, variance=np.full((2, 3, 5), 1e-4))

    def fail(path: Path, content: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(job, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        job.write_job(tmp_path / "job", measured, {})
    assert not (tmp_path / "job").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, source: Volume) -> None:
    (tmp_path / "input.nrrd").write_text("mine")
    with pytest.raises(ValueError, match="expected an empty folder"):
        job.write_job(tmp_path, source, {})
    assert (tmp_path / "input.nrrd").read_text() == "mine"


def test_a_folder_below_a_file_is_one_sentence(tmp_path: Path, source: Volume) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder that can be written") as caught:
        job.write_job(tmp_path / "file" / "job", source, {})
    assert "\n" not in str(caught.value)


def test_too_little_disk_space_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, source: Volume, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 90, 10))
    with pytest.raises(ValueError, match="free disk space"):
        job.write_job(tmp_path / "job", source, {})
    assert list((tmp_path / "job").iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, source: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise ValueError("disk full")

    monkeypatch.setattr(job, "write_json", full)
    with pytest.raises(ValueError, match="disk full"):
        job.write_job(tmp_path / "job", source, {})
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("settings", [{"noise": math.nan}, {"path": Path("x")}])
def test_settings_must_be_finite_json(tmp_path: Path, source: Volume, settings: dict) -> None:
    with pytest.raises(ValueError, match="finite JSON"):
        job.write_job(tmp_path / "job", source, settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "other"}, "'other'"), ({"input": "../input.nrrd"}, "input.nrrd'"), ({"input": "no.nrrd"}, "no.nrrd"),
        ({"settings": 3}, "settings .* 3"), ({"settings": [1]}, r"settings .* \[1\]"), ({"geometry": "g"}, "'g'"),
        ({"x": 1}, "other content"),
    ],
)
def test_a_damaged_job_is_refused(tmp_path: Path, source: Volume, change: dict, named: str) -> None:
    folder = job.write_job(tmp_path / "job", source, {})
    content = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ValueError, match=f"expected .*{named}"):
        job.read_job(folder)


def test_half_a_job_file_and_no_result_are_one_sentence(tmp_path: Path, source: Volume) -> None:
    folder = job.write_job(tmp_path / "job", source, {})
    with pytest.raises(ValueError, match="run the job first"):
        job.read_result(folder)
    (folder / "job.json").write_text('{"kind": "sim')
    with pytest.raises(ValueError, match="expected JSON"):
        job.read_job(folder)


def test_time_left_follows_a_steady_rate_and_a_change_of_it() -> None:
    now = [0.0]
    left = TimeLeft(clock=lambda: now[0])
    assert left.update(0.0) is None
    for step in range(1, 21):
        now[0] = step
        seconds = left.update(step / 100)
    assert seconds == pytest.approx(80, rel=0.01)
    assert left.update(0.1) is not None
    assert left.fraction == pytest.approx(0.2)
    for step in range(1, 61):
        now[0] = 20 + 2 * step
        seconds = left.update(0.2 + step / 100)
    assert seconds == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_an_impossible_fraction_raises(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        TimeLeft().update(fraction)


def test_peak_memory_sees_an_allocation_that_is_gone_and_a_child() -> None:
    code = (
        "import subprocess, sys\n"
        "from diffusion_engine.jobs.progress import PeakMemory\n"
        "memory = PeakMemory()\n"
        "before = memory.update()\n"
        "block = bytearray(b'x') * 200_000_000\n"
        "del block\n"
        "after = memory.update()\n"
        "hold = 'b = bytearray(b\"x\") * 100_000_000; print(1, flush=True); input()'\n"
        "child = subprocess.Popen([sys.executable, '-c', hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "memory._looked = -1e9\n"
        "with_child = memory.update()\n"
        "child.communicate(b'\\n')\n"
        "print(after - before, with_child - after, memory.update() - with_child)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    block, child, later = (float(word) for word in found.stdout.split())
    assert 190 < block < 230
    assert 100 < child < 140
    assert later == 0


MICRO = forecast.MicroRun(start_seconds=5.0, unit_seconds=0.1, base_mb=400.0, batch_mb=100.0)
SETTINGS = {"methods": ["fbp", "tv", "diffusion"], "draws": 4, "steps": 20, "slices": None, "region": None}


def test_a_forecast_scales_with_slices_and_draws() -> None:
    calls = []
    found = forecast.forecast((10, 512, 512), SETTINGS, lambda: calls.append(1) or MICRO, free_mb=4000)
    assert calls == [1]
    assert found["seconds"] == pytest.approx(5 + 0.1 * 10 * 4)
    assert found["fits"]
    assert found["advice"] is None
    volumes = 1 + 2 + 6 + 4 + 2
    assert found["memory_mb"] == pytest.approx(500 + 4e-6 * 10 * 512**2 * (1 + volumes))


def test_a_job_that_cannot_fit_is_refused_with_a_number_that_fits() -> None:
    found = forecast.forecast((400, 512, 512), SETTINGS, lambda: MICRO, free_mb=2000)
    assert not found["fits"]
    most = int(found["advice"].split("at most ")[1].split()[0])
    for slices, fits in ((most, True), (most + 1, False)):
        part = forecast.forecast((400, 512, 512), {**SETTINGS, "slices": [0, slices]}, lambda: MICRO, free_mb=2000)
        assert part["fits"] is fits


def test_a_job_whose_base_alone_is_too_big_gets_other_advice() -> None:
    found = forecast.forecast((4, 512, 512), SETTINGS, lambda: MICRO, free_mb=450)
    assert not found["fits"]
    assert "close other programs" in found["advice"]


def test_forecast_needs_draws_and_a_part_of_the_image() -> None:
    with pytest.raises(ValueError, match="draws"):
        forecast.forecast((4, 8, 8), {**SETTINGS, "draws": None}, lambda: MICRO)
    with pytest.raises(ValueError, match="within"):
        forecast.forecast((4, 8, 8), {**SETTINGS, "slices": [7, 9]}, lambda: MICRO)


def test_free_memory_is_what_the_machine_has() -> None:
    assert 10 < memory.free_memory_mb() < 1e8


def test_output_bytes_count_the_selected_part() -> None:
    whole = disk.output_bytes((10, 20, 30), SETTINGS)
    assert whole == 4 * 10 * 20 * 30 * (1 + 2 + 6 + 1 + 1)  # the map of where the prior decided is kept by itself
    part = {**SETTINGS, "slices": [2, 4], "region": [0, 10, 5, 15]}
    assert disk.output_bytes((10, 20, 30), part) == 4 * 2 * 10 * 10 * 11


@pytest.mark.parametrize(("keep", "warning"), [({"keep_draws": True}, 1), ({"keep": ["mean", "draws"]}, 0)])
def test_output_bytes_count_draws_where_they_are_kept(keep: dict, warning: int) -> None:
    shape, voxels = (10, 20, 30), 6000
    for draws in (1, 7):
        found = disk.output_bytes(shape, {**SETTINGS, **keep, "draws": draws})
        assert found == 4 * voxels * (1 + 2 + 6 + warning + draws + 1)
        assert disk.draw_bytes(draws, voxels) <= 4 * voxels * draws < found
    assert disk.output_bytes(shape, {**SETTINGS, **keep, "preset": "posterior", "draws": 8}) == (
        disk.output_bytes(shape, {"methods": SETTINGS["methods"], **keep, "preset": "posterior"})
    )
    assert disk.output_bytes(shape, {"methods": ["fbp"], **keep}) == 4 * voxels * 3


@pytest.mark.parametrize("bad", [{"slices": 3}, {"draws": "four"}, {"methods": 1}, {"region": [1, 2, 3]}, {"keep": 5}])
def test_output_bytes_of_bad_settings_are_one_sentence(bad: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        disk.output_bytes((10, 20, 30), {**SETTINGS, **bad})

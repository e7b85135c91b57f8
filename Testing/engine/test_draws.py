"""Draws on disk: how exactly they come back, and what is refused."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.jobs import job, worker
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior import reserved
from diffusion_engine.posterior.draws import DrawStore


def filled(folder: Path, values: np.ndarray) -> DrawStore:
    store = DrawStore(len(values), values.shape[1:], folder)
    for n, image in enumerate(values):
        for start in range(0, values.shape[1], 2):
            store.write(n, slice(start, start + 2), image[start : start + 2])
    return store


@pytest.fixture
def values() -> np.ndarray:
    """Seven draws of five slices: lung, tissue and metal, 100 HU apart or so."""
    rng = np.random.default_rng(0)
    base = rng.choice([-1000.0, -850.0, 40.0, 3071.0], size=(1, 5, 6, 4))
    return (base + rng.normal(0, 60, (7, 5, 6, 4))).astype(np.float32)


def test_draws_come_back_to_the_stated_rounding(values: np.ndarray, tmp_path: Path) -> None:
    with filled(tmp_path / "draws", values) as store:
        np.testing.assert_array_equal(store.read(0), values[0])
        for n in range(1, 7):
            bound = np.abs(values[n] - values[0]) / 2048 + 2 * np.spacing(np.abs(values[n]))
            assert (np.abs(store.read(n) - values[n]) <= bound).all()
        np.testing.assert_array_equal(store.read(3, slice(1, 3)), store.read(3)[1:3])
        with pytest.raises(ValueError, match="from 0 to 6, found 7"):
            store.read(7)


def test_the_files_go_with_the_store(values: np.ndarray, tmp_path: Path) -> None:
    store = filled(tmp_path / "draws", values)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert max(path.stat().st_size for path in tmp_path.rglob("*.npy")) < 1.1 * values[1:].nbytes / 2 + 200
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
    with DrawStore(1, (1, 2, 2), tmp_path / "draws") as one:
        one.write(0, slice(0, 1), np.ones((1, 2, 2), np.float32))
        assert one.read(0).tolist() == [[[1, 1], [1, 1]]]


def taken(path: Path) -> int:
    """The bytes of the disk that a file really has."""
    return path.stat().st_blocks * 512


@pytest.mark.skipif(os.name != "posix", reason="Windows does not say how much a file has of the disk")
@pytest.mark.parametrize("fallocate", [True, False], ids=["reserved", "written"])
def test_the_space_is_taken_at_once(tmp_path: Path, fallocate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with DrawStore(3, (2, 256, 256), tmp_path / "draws") as store:
        for name, size in (("first", 4 * 2 * 256**2), ("away", 2 * 2 * 2 * 256**2)):
            assert taken(tmp_path / "draws" / f"{name}.npy") >= size
        assert not store.read(0).any()


def test_an_old_file_system_gets_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot, raising=False)
    monkeypatch.setattr(reserved, "BLOCK", bytes(100))
    array = reserved.reserved_array(tmp_path / "a.npy", (3, 25), np.float32)
    assert array.shape == (3, 25)
    assert not array.any()
    array[2, 24] = 7
    array.flush()
    assert np.load(tmp_path / "a.npy")[2, 24] == 7


def full(*arguments: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("fallocate", [True, False], ids=["reserved", "written"])
@pytest.mark.parametrize("given", [True, False], ids=["in the job", "temporary"])
def test_a_full_disk_is_one_sentence_and_nothing_stays(
    tmp_path: Path, fallocate: bool, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of the two files has no room any more."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    really, calls = reserved._reserve, []

    def second(handle: int, start: int, count: int) -> None:
        calls.append(count)
        if len(calls) == 2:
            if fallocate:
                monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
            else:
                monkeypatch.delattr(os, "posix_fallocate", raising=False)
                monkeypatch.setattr(os, "write", full)
        really(handle, start, count)

    monkeypatch.setattr(reserved, "_reserve", second)
    with pytest.raises(ValueError, match=r"expected 24 MB of free disk space for the draws .*, found \d+ MB") as told:
        DrawStore(4, (1, 2000, 2000), tmp_path / "draws" if given else None)
    assert "\n" not in str(told.value)
    assert calls == [16_000_000, 24_000_000]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "draws").mkdir()
    (tmp_path / "draws" / "mine").touch()
    with pytest.raises(ValueError, match="expected to make the folder"):
        DrawStore(2, (1, 2, 2), tmp_path / "draws")
    assert (tmp_path / "draws" / "mine").exists()


def kept_by_a_job(folder: Path) -> Generator[Any, None, None]:
    """The steps of a small job that keeps its draws."""
    image = synthetic_chest((1, 32, 32), (10.0, 10.0, 10.0))[0]
    settings = {"views": 12, "draws": 2, "steps": 2, "methods": ["diffusion"], "device": "cpu", "keep": ["draws"]}
    return worker.reconstruct(image, settings, folder)


def test_a_jobs_draws_lie_in_its_folder_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    steps = kept_by_a_job(tmp_path)
    assert any(step.stage.startswith("draw") for step in steps)
    assert {path.name for path in (tmp_path / job.DRAWS).iterdir()} == {"first.npy", "away.npy"}
    steps.close()
    assert list(tmp_path.iterdir()) == []
    *_, result = kept_by_a_job(tmp_path)
    assert {"draw_1", "draw_2"} <= set(result.volumes)
    assert list(tmp_path.iterdir()) == []


def test_the_worker_gives_its_folder_to_the_pipeline(tmp_path: Path) -> None:
    folder = job.write_job(tmp_path / "job", synthetic_chest((1, 8, 8), (10.0, 10.0, 10.0))[0], {})
    code = (
        "import sys; from diffusion_engine.jobs import worker\n"
        "worker.run_job = lambda folder, pipeline, out: out.write(repr(pipeline.keywords)) and 0\n"
        "sys.exit(worker.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-c", code, str(folder)]
    said = subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == repr({"folder": folder.resolve()})


def test_a_full_disk_ends_a_job_before_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(os, "write", full)
    stages = []
    with pytest.raises(ValueError, match="free disk space for the draws"):
        stages.extend(step.stage for step in kept_by_a_job(tmp_path))
    assert set(stages) <= {"prepare"}
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_kept_goes_with_its_other_outputs(tmp_path: Path) -> None:
    filled(tmp_path / job.DRAWS, np.zeros((2, 2, 3, 3), np.float32))
    (tmp_path / "draws-of-mine").mkdir()
    job.clear_outputs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["draws-of-mine"]


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 draw or more"):
        DrawStore(0, (1, 2, 2))
    with DrawStore(2, (1, 1, 2), tmp_path / "draws") as store:
        store.write(0, slice(0, 1), np.zeros((1, 1, 2), np.float32))
        for bad in (np.nan, np.inf):
            with pytest.raises(FloatingPointError, match="NaN or infinite"):
                store.write(1, slice(0, 1), np.full((1, 1, 2), bad, np.float32))
        with pytest.raises(FloatingPointError, match="half precision"):
            store.write(1, slice(0, 1), np.full((1, 1, 2), 1e5, np.float32))

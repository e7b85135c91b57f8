"""Two starts on one folder: the second is told; what a crash left is recognised."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from diffusion_engine.jobs import job, lock, process, worker
from diffusion_engine.volume import Volume
from waiting import wait_until

DRIVER = """
import sys, time
from diffusion_engine.jobs import worker
class Progress:
    stage, step, total, fraction, preview = "waits", 1, 2, 0.5, None
def pipeline(source, settings):
    yield Progress
    time.sleep(600)
sys.exit(worker.main(sys.argv[1:], pipeline))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return job.write_job(tmp_path / "job", Volume(np.zeros((1, 4, 4), np.float32), np.eye(4), "HU"), {})


@pytest.fixture
def driver(tmp_path: Path) -> list[str]:
    (tmp_path / "driver.py").write_text(DRIVER)
    return [sys.executable, str(tmp_path / "driver.py")]


def note(folder: Path, **changes: object) -> dict:
    """A lock of this very process, with changes."""
    run = lock.take(folder)
    found = json.loads((folder / lock.LOCK).read_text())
    assert found["run"] == run
    (folder / lock.LOCK).write_text(json.dumps({**found, **changes}))
    return found


def ended() -> int:
    """The number of a process that was and is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_second_start_is_told_and_harms_nothing(folder: Path, driver: list[str]) -> None:
    first = process.start(folder, command=driver)
    try:
        wait_until(lambda: first.poll())
        holder = json.loads((folder / lock.LOCK).read_text())
        assert holder["pid"] == first.pid
        before = {path.name for path in folder.iterdir()}
        with pytest.raises(ValueError, match=f"that of the process {first.pid}: wait for its end") as caught:
            process.start(folder, command=driver)
        assert "\n" not in str(caught.value)
        by_hand = subprocess.run([*driver, str(folder)], capture_output=True, text=True, env=_environment())
        assert by_hand.returncode == 1
        assert "no other run uses" in json.loads(by_hand.stdout)["message"]
        assert {path.name for path in folder.iterdir()} == before
        assert first.running()
    finally:
        first.cancel()
        assert first.wait() == {"event": "cancelled"}
    assert not (folder / lock.LOCK).exists()
    again = process.start(folder, command=driver)
    wait_until(lambda: again.poll())
    again.cancel()
    assert again.wait() == {"event": "cancelled"}
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT, job.LOG}


def test_a_start_that_fails_lets_go(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected to start"):
        process.start(folder, python=str(folder / "no-python"))
    assert not (folder / lock.LOCK).exists()
    (folder / job.JOB).write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        process.start(folder)
    assert not (folder / lock.LOCK).exists()


@pytest.mark.parametrize("name", ["gone", "another's number now", "half written", "empty", "nonsense"])
def test_what_a_crash_left_is_recognised(folder: Path, name: str) -> None:
    if name == "gone":
        note(folder, pid=ended())
    elif name == "another's number now":
        note(folder, started=psutil.Process().create_time() - 3600.0)
    else:
        (folder / lock.LOCK).write_text({"half written": '{"run": "a', "empty": "", "nonsense": '{"pid": -1}'}[name])
    run = lock.take(folder)
    assert json.loads((folder / lock.LOCK).read_text())["pid"] == os.getpid()
    with pytest.raises(ValueError, match="no other run uses"):
        lock.take(folder)
    lock.release(folder, "another run")
    assert (folder / lock.LOCK).exists()
    lock.release(folder, run)
    lock.release(folder, run)
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT}


@pytest.mark.skipif(os.name != "posix", reason="zombies are POSIX")
def test_a_process_that_has_ended_but_was_not_waited_for_holds_nothing(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        note(folder, pid=child.pid, started=psutil.Process(child.pid).create_time())
        lock.take(folder)
    finally:
        child.wait()


def test_a_lock_that_cannot_be_written_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(ValueError, match=r"expected to write .*run\.lock, but it failed"):
        process.start(folder)
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT}
    with pytest.raises(ValueError, match="expected to write"):
        lock.take(folder / "none")


def test_another_computer_may_still_run_it(folder: Path) -> None:
    note(folder, computer="elsewhere", pid=ended())
    with pytest.raises(ValueError, match=r"on the computer elsewhere: .* or remove .*run\.lock"):
        lock.take(folder)


def test_the_worker_takes_the_place_of_the_process_that_started_it(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run = note(folder, pid=child.pid, started=psutil.Process(child.pid).create_time())["run"]
        with pytest.raises(ValueError, match=f"that of the process {child.pid}"):
            lock.take(folder, "another run")
        assert lock.take(folder, run) == run
        assert json.loads((folder / lock.LOCK).read_text())["pid"] == os.getpid()
    finally:
        child.communicate(b"\n")


def test_a_lock_that_came_meanwhile_is_given_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what a crash left and its removal another process holds the folder."""
    stale = note(folder, pid=ended())
    stale["pid"] = json.loads((folder / lock.LOCK).read_text())["pid"]
    lives = lock._lives

    def meanwhile(holder: dict) -> bool:
        if holder != stale:
            return lives(holder)
        (folder / lock.LOCK).unlink()
        note(folder)
        return False

    monkeypatch.setattr(lock, "_lives", meanwhile)
    with pytest.raises(ValueError, match="no other run uses"):
        lock.take(folder)
    assert json.loads((folder / lock.LOCK).read_text())["pid"] == os.getpid()
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize(("error", "refused"), [
    (ValueError("no"), True), (FloatingPointError("no"), False), (UnicodeError("no"), False),
])
def test_only_what_was_asked_for_wrongly_is_refused(folder: Path, error: Exception, refused: bool) -> None:
    def pipeline(source: object, settings: dict) -> Iterator[None]:
        raise error
        yield

    out = io.StringIO()
    assert worker.run_job(folder, pipeline, out) == worker.ERROR
    assert json.loads(out.getvalue())["refused"] is refused


def test_a_worker_started_by_hand_holds_and_lets_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pathlib import Path; from diffusion_engine.jobs import worker\n"
        "def pipeline(source, settings):\n"
        "    assert (Path(sys.argv[1]) / 'run.lock').exists()\n"
        "    raise ValueError('expected this')\n"
        "    yield\n"
        "sys.exit(worker.main(sys.argv[1:], pipeline))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=_environment())
    assert json.loads(done.stdout) == {"event": "error", "message": "expected this", "refused": True}
    assert not (folder / lock.LOCK).exists()


def test_what_is_no_job_folder_stays_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "none", tmp_path / "note.txt"):
        assert worker.main([str(place)]) == worker.ERROR
        message = json.loads(capfd.readouterr().out)["message"]
        assert "job.json" in message
        assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_two_trainings_of_one_name_are_one_too_many(tmp_path: Path) -> None:
    place = tmp_path / "priors"
    with lock.held(place, "mine"):
        with lock.held(place, "other"):
            pass
        with pytest.raises(ValueError, match=r"uses .*mine, found that of the process"), lock.held(place, "mine"):
            pass
    assert not place.exists()
    with lock.held(place, "mine"):
        (place / "mine.checkpoint").touch()
    assert [path.name for path in place.iterdir()] == ["mine.checkpoint"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

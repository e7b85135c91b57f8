"""A job in its own process: progress, cancel, sudden death, no orphans, exact re-run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from diffusion_engine.io.images import read_volume
from diffusion_engine.jobs import job, process
from diffusion_engine.volume import Volume
from waiting import wait_until

DRIVER = '''
import subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from diffusion_engine.jobs import worker

@dataclass(frozen=True)
class Progress:
    stage: str
    step: int
    total: int
    fraction: float
    preview: object = None

@dataclass(frozen=True)
class Result:
    volumes: dict
    report: dict

{slow_import}

def pipeline(source, settings):
{body}

sys.exit(worker.main(sys.argv[1:], pipeline))
'''
SHORT = """
for i in range(8):
    time.sleep(0.15)
    yield Progress("sampling", i + 1, 8, (i + 1) / 8, source)
noise = np.random.default_rng(settings["seed"]).normal(size=source.array.shape).astype(np.float32)
print("a library talks on stdout")
yield Result({"mean": source.with_array(source.array + noise)}, {"seed": settings["seed"]})
"""
SLEEPS = """
yield Progress("sampling", 1, 2, 0.5, source)
time.sleep(600)
yield Result({"mean": source}, {})
"""
WITH_CHILD = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(settings["pid_file"]).write_text(str(child.pid))
yield Progress("sampling", 1, 2, 0.5)
time.sleep(600)
yield Result({"mean": source}, {})
"""


@pytest.fixture
def source() -> Volume:
    values = np.random.default_rng(5).normal(0, 300, (3, 12, 10)).astype(np.float32)
    return Volume(values, np.diag([0.8, 0.7, 2.5, 1.0]), "HU")


@pytest.fixture
def run(tmp_path: Path, source: Volume):
    """Start a job whose pipeline is ``body``; whatever is left of it ends with the test."""
    started: list[process.JobProcess] = []

    def start(body: str, folder: Path | None = None, slow_import: str = "", **settings: object) -> process.JobProcess:
        driver = tmp_path / "driver.py"
        lines = "\n".join("    " + line for line in body.strip().splitlines())
        driver.write_text(DRIVER.format(body=lines, slow_import=slow_import), encoding="utf-8")
        place = folder or tmp_path / "job"
        if not (place / "job.json").exists():
            job.write_job(place, source, {"seed": 3, **settings})
        started.append(process.start(place, command=[sys.executable, str(driver)]))
        return started[-1]

    yield start
    for one in started:
        one.cancel()
        one.wait()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"job.json", "input.nrrd", "worker.log"}


def test_progress_is_monotone_and_the_result_whole(run, source: Volume) -> None:
    started = run(SHORT)
    messages: list[dict] = []
    last = started.wait(messages.append)
    assert last == messages[-1] == {"event": "done", "result": "result.json"}
    steps = messages[:-1]
    assert len(steps) >= 4
    fractions = [message["fraction"] for message in steps]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] <= 1
    assert all(message["memory_mb"] > 10 for message in steps)
    assert steps[0]["seconds_left"] is None or steps[0]["seconds_left"] >= 0
    assert steps[-1]["seconds_left"] == 0
    assert "preview.nrrd" in {message["preview"] for message in steps}
    assert np.array_equal(read_volume(started.folder / "preview.nrrd").array, source.array)
    report, volumes = job.read_result(started.folder)
    assert report["seed"] == 3
    assert report["peak_memory_mb"] > 10
    mean = read_volume(volumes["mean"])
    assert np.allclose(mean.ijk_to_ras, source.ijk_to_ras)
    assert mean.unit == "HU"
    assert "a library talks on stdout" in (started.folder / "worker.log").read_text()
    assert not started.running()


def test_same_folder_again_gives_the_same_bytes(run) -> None:
    first = run(SHORT)
    assert first.wait()["event"] == "done"
    before = (first.folder / "mean.nrrd").read_bytes()
    (first.folder / "mean.nrrd").write_bytes(b"")
    again = run(SHORT, first.folder)
    assert not (first.folder / "result.json").exists()
    assert again.wait()["event"] == "done"
    assert (first.folder / "mean.nrrd").read_bytes() == before


def test_cancel_inside_one_long_step_does_not_wait_for_its_end(run) -> None:
    started = run(SLEEPS)
    wait_until(lambda: any(message["event"] == "progress" for message in started.poll()))
    started.cancel()
    assert started.running()  # cancel itself must not hold up a user interface: the worker has its second of grace
    assert started.wait() == {"event": "cancelled"}
    assert gone(started.pid)
    assert leftovers(started.folder) == set()
    assert process.GRACE_S <= 1.0


def test_cancel_while_the_worker_still_imports(run, tmp_path: Path) -> None:
    there = tmp_path / "there"
    started = run(SLEEPS, slow_import=f"Path({str(there)!r}).touch(); time.sleep(600)")
    wait_until(there.exists)
    started.cancel()
    assert started.wait() == {"event": "cancelled"}
    assert leftovers(started.folder) == set()


def test_cancel_between_steps_ends_the_worker_itself(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 60.0)
    started = run(SHORT)
    wait_until(lambda: any(message["event"] == "progress" for message in started.poll()))
    started.cancel()
    assert started.wait() == {"event": "cancelled"}
    assert started._process.returncode == 3
    assert leftovers(started.folder) == set()


def test_cancel_after_the_end_changes_nothing(run) -> None:
    started = run(SHORT)
    assert started.wait()["event"] == "done"
    started.cancel()
    assert started.poll() == []
    assert job.read_result(started.folder)[0]["seed"] == 3


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_kill_9_gives_one_sentence_and_leaves_nothing_half(run, tmp_path: Path) -> None:
    pid_file = tmp_path / "child.pid"
    started = run(WITH_CHILD, pid_file=str(pid_file))
    wait_until(lambda: any(message["event"] == "progress" for message in started.poll()))
    os.kill(started.pid, signal.SIGKILL)
    messages: list[dict] = []
    started.wait(messages.append)
    assert [message["event"] for message in messages] == ["error"]
    assert "SIGKILL" in messages[0]["message"]
    assert "memory" not in messages[0]["message"]
    assert "\n" not in messages[0]["message"]
    assert leftovers(started.folder) == set()
    wait_until(lambda: gone(int(pid_file.read_text())))


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
@pytest.mark.parametrize("body", [SHORT, WITH_CHILD])
def test_a_group_is_signalled_only_while_its_number_is_its_own(
    run, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the end of its leader is taken note of, the number may be that of another's group."""
    signalled: list[tuple[int, int | None, bool]] = []
    really = os.killpg

    def recorded(group: int, number: int) -> None:
        signalled.append((group, started._process.returncode, psutil.pid_exists(group)))
        really(group, number)

    monkeypatch.setattr(os, "killpg", recorded)
    started = run(body, pid_file=str(tmp_path / "child.pid"))
    if body is WITH_CHILD:
        wait_until(lambda: any(message["event"] == "progress" for message in started.poll()))
        os.kill(started.pid, signal.SIGKILL)
    started.wait()
    ended = list(signalled)
    assert ended
    assert all(each == (started.pid, None, True) for each in ended)
    started.cancel()
    started.poll()
    started._end_tree()
    started._end_after_grace()
    assert signalled == ended


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_kill_9_while_outputs_are_written(run, source: Volume) -> None:
    """The worker is killed between two outputs that it moves to their final names: neither stays."""
    body = """
import os, signal
move = os.replace
def dying(a, b):
    move(a, b)
    if Path(b).name == "mean.nrrd" and Path(b).parent.name == "job":
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying
yield Result({"mean": source, "tv": source}, {})
"""
    started = run(body)
    assert started.wait()["event"] == "error"
    assert leftovers(started.folder) == set()


def test_cancel_ends_the_children_too(run, tmp_path: Path) -> None:
    pid_file = tmp_path / "child.pid"
    started = run(WITH_CHILD, pid_file=str(pid_file))
    wait_until(pid_file.exists)
    wait_until(lambda: pid_file.read_text() != "")
    started.cancel()
    started.wait()
    wait_until(lambda: gone(int(pid_file.read_text())))


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_worker_ends_when_its_parent_dies(run, source: Volume, tmp_path: Path) -> None:
    pid_file = tmp_path / "child.pid"
    folder = job.write_job(tmp_path / "job", source, {"pid_file": str(pid_file)})
    (tmp_path / "driver.py").write_text(
        DRIVER.format(slow_import="", body="\n".join("    " + line for line in WITH_CHILD.strip().splitlines()))
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from diffusion_engine.jobs import process; "
         f"print(process.start({str(folder)!r}, command=[sys.executable, {str(tmp_path / 'driver.py')!r}]).pid, "
         "flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert parent.stdout is not None
        worker_pid = int(parent.stdout.readline())
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_until(lambda: gone(worker_pid))
    wait_until(lambda: gone(int(pid_file.read_text())))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('expected 3 views,\\nfound 0: give more')\nyield", "expected 3 views, found 0: give more"),
        ("raise KeyError('x')\nyield", "KeyError"),
        ("raise MemoryError()\nyield", "choose fewer slices"),
        ("yield Progress('a', 1, 2, float('nan'))", "fraction of the job"),
        ("yield Progress('a', 1, 2, 0.5)", "without a result"),
        ("yield Result({'mean': source}, {'metrics': float('nan')})", "JSON"),
    ],
)
def test_an_error_is_one_sentence_and_its_traceback_is_in_the_log(run, body: str, words: str) -> None:
    started = run(body)
    messages: list[dict] = []
    last = started.wait(messages.append)
    assert last["event"] == "error"
    assert words in last["message"]
    assert "\n" not in last["message"]
    assert "Traceback" in (started.folder / "worker.log").read_text()
    assert started._process.returncode == 1
    assert leftovers(started.folder) == set()


def test_nan_in_a_result_raises_and_nothing_is_saved(run) -> None:
    started = run("bad = source.array.copy()\nbad[1, 2, 3] = np.nan\nyield Result({'a': source.with_array(bad)}, {})")
    last = started.wait()
    assert last["event"] == "error"
    assert "found 1 NaN or infinite" in last["message"]
    assert leftovers(started.folder) == set()


def test_paths_with_spaces_and_other_alphabets(run, tmp_path: Path) -> None:
    folder = tmp_path / "Lungen-CT für Ärzte 胸部 \N{GREEK SMALL LETTER ALPHA}"
    started = run(SHORT, folder)
    assert started.wait()["event"] == "done"
    assert job.read_result(folder)[1]["mean"].is_file()


def test_a_crash_before_the_first_message_is_one_sentence(run) -> None:
    started = run(SLEEPS, slow_import="raise SystemExit(7)")
    last = started.wait()
    assert last["event"] == "error"
    assert "exit code 7" in last["message"]


def test_a_python_that_is_missing_is_one_sentence(tmp_path: Path, source: Volume) -> None:
    folder = job.write_job(tmp_path / "job", source, {})
    with pytest.raises(ValueError, match="expected to start"):
        process.start(folder, python=str(tmp_path / "no-python"))


def test_disk_full_before_the_work_is_one_sentence(run) -> None:
    started = run(SLEEPS, slow_import=(
        "import shutil\nfrom collections import namedtuple\n"
        "shutil.disk_usage = lambda path: namedtuple('Usage', 'total used free')(10, 10, 0)"
    ))
    last = started.wait()
    assert last["event"] == "error"
    assert "free disk space" in last["message"]


def test_starting_a_job_does_not_import_torch() -> None:
    code = "import sys, diffusion_engine.jobs.process, diffusion_engine.jobs.worker; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0

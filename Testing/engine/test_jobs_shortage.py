"""A failure for want of memory keeps its sentence, also where a launcher hides how the worker ended."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine import __main__ as line
from diffusion_engine import memory
from diffusion_engine.commands import scans
from diffusion_engine.jobs import job, process, shortage
from diffusion_engine.jobs.ending import sentence
from diffusion_engine.volume import Volume

LAUNCHER = """
import subprocess, sys
print("launcher of this application, version 1")
print(3)
sys.exit(1 if subprocess.call([sys.executable, *sys.argv[1:]]) else 0)
"""
WORKER = """
import json, os, pathlib, signal, sys
print(json.dumps({"event": "progress", "stage": "tv", "step": 1, "total": 2, "fraction": 0.5}), flush=True)
pathlib.Path(sys.argv[1], "outputs.part").mkdir()
%s
"""
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return job.write_job(tmp_path / "job", Volume(np.zeros((1, 4, 4), np.float32), np.eye(4), "HU"), {})


def last_message(folder: Path, body: str, launched: bool) -> str:
    """The last message of a worker that ends like this, by itself or behind a launcher."""
    (folder.parent / "worker.py").write_text(WORKER % body)
    (folder.parent / "launcher.py").write_text(LAUNCHER)
    command = [sys.executable, *([str(folder.parent / "launcher.py")] if launched else [])]
    messages: list[dict] = []
    last = process.start(folder, command=[*command, str(folder.parent / "worker.py")]).wait(messages.append)
    assert [message["event"] for message in messages] == ["progress", "error"]
    assert "\n" not in last["message"]
    assert {path.name for path in folder.iterdir()} == {job.JOB, job.INPUT, job.LOG}
    return last["message"]


both = pytest.mark.parametrize("launched", [True, False], ids=["launched", "alone"])
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@posix
@both
def test_killed_for_memory_by_the_systems_own_count(
    folder: Path, launched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter((4, 5))
    monkeypatch.setattr(shortage, "killed_for_memory", lambda: next(counts))
    message = last_message(folder, KILLED, launched)
    assert message.startswith("The memory did not suffice, and the system ended the reconstruction process")
    assert "choose fewer slices, a smaller region" in message


@posix
@both
def test_killed_when_hardly_any_was_free(folder: Path, launched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "killed_for_memory", lambda: 7)
    monkeypatch.setattr(shortage, "total_memory_mb", lambda: 8000.0)
    looked = folder.parent / "looked"

    def free() -> float:
        looked.touch()
        return 120.0

    monkeypatch.setattr(shortage, "free_memory_mb", free)
    monkeypatch.setattr(process, "LOOK_S", 0.0)
    body = f"import time\nwhile not os.path.exists({str(looked)!r}):\n    time.sleep(0.02)\n" + KILLED
    message = last_message(folder, body, launched)
    assert "probably did not suffice" in message
    assert "120 MB were free" in message


@posix
@both
@pytest.mark.parametrize("body", [KILLED, "os._exit(1)"], ids=["killed", "left"])
def test_an_end_without_a_sign_claims_nothing(
    folder: Path, launched: bool, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "killed_for_memory", lambda: 7)
    monkeypatch.setattr(shortage, "total_memory_mb", lambda: 8000.0)
    monkeypatch.setattr(shortage, "free_memory_mb", lambda: 6000.0)
    message = last_message(folder, body, launched)
    assert message.startswith("The reconstruction process ended before its result")
    assert ("SIGKILL" if body == KILLED and not launched else "exit code 1") in message
    assert "memory" not in message


@both
@pytest.mark.parametrize(
    "said", ["terminate called after throwing an instance of 'std::bad_alloc'", "MemoryError",
             "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"],
)  # fmt: skip
def test_what_a_library_said_last_is_believed(folder: Path, launched: bool, said: str) -> None:
    message = last_message(folder, f"print({said!r}, file=sys.stderr, flush=True); os._exit(1)", launched)
    assert message == shortage.did_not_suffice("reconstruction")


@both
def test_a_traceback_is_no_want_of_memory(folder: Path, launched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(9))
    monkeypatch.setattr(shortage, "killed_for_memory", lambda: next(counts))
    assert "exit code 1" in last_message(folder, "import no_such_module", launched)


def test_errors_of_every_allocator_get_the_sentence() -> None:
    wrapped = RuntimeError("the solver stopped")
    wrapped.__cause__ = MemoryError()
    for error in (
        MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
        RuntimeError("std::bad_alloc"), RuntimeError("bad allocation"), RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"), wrapped,
    ):
        assert sentence(error) == (
            "The memory did not suffice: choose fewer slices, a smaller region, fewer views, or the device cpu."
        ), error
        assert "a smaller network" in sentence(error, "training")
    assert sentence(ValueError("expected memory")) == "expected memory"
    for error in (RuntimeError("shapes differ"), KeyError("out of memory"), OSError(errno.ENOSPC, "No space left")):
        assert "did not suffice" not in sentence(error)


def test_a_real_allocation_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the address space of a 64-bit machine: every allocator refuses it at once."""
    for allocate in (lambda: torch.empty(1 << 58), lambda: np.empty(1 << 58), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert shortage.ran_out(caught.value), caught.value


@pytest.mark.parametrize(
    ("command", "words"), [("simulate", "fewer slices"), ("reconstruct", "fewer slices"), ("train", "smaller network")]
)
def test_the_shells_commands_say_it_too(
    command: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from diffusion_engine.training import run

    def fail(*_arguments: object, **_named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scans, "_read", fail)
    monkeypatch.setattr(run, "train_prior", fail)
    arguments = [command, "--out", str(tmp_path / "out"), *(["--data", str(tmp_path)] if command == "train" else [])]
    assert line.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("The memory did not suffice: choose ")
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_counters_and_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(shortage, "GROUPS", tmp_path)
    machine = memory.total_memory_mb()
    assert shortage.killed_for_memory() >= 0
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    monkeypatch.setattr(shortage, "_counters", lambda: [tmp_path / "none", tmp_path / "memory.events"])
    assert shortage.killed_for_memory() == 2
    for name, text in (("memory.max", "max"), ("memory.current", "70000000")):
        (tmp_path / name).write_text(text + "\n")
    assert memory.total_memory_mb() == machine
    (tmp_path / "memory.max").write_text("90000000\n")
    assert (memory.total_memory_mb(), memory.free_memory_mb()) == (90.0, 20.0)
    (tmp_path / "memory.stat").write_text("anon 60000000\ninactive_file 10000000\n")
    assert memory.free_memory_mb() == 30.0  # what is held of files is given back when it is wanted


def test_version_1_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    (tmp_path / "memory").mkdir()
    for name, text in (
        ("limit_in_bytes", "80000000"), ("usage_in_bytes", "70000000"),
        ("stat", "inactive_file 1\ntotal_inactive_file 20000000"),
    ):
        (tmp_path / "memory" / f"memory.{name}").write_text(text + "\n")
    assert (memory.total_memory_mb(), memory.free_memory_mb()) == (80.0, 30.0)

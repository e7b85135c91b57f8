"""The set-up of `.venv`: what it refuses, what it chooses, and that it is whole or made again."""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import computer
import environment
import pytest
from environment import NetworkError, SetUpError
from waiting import wait_until

LINUX = ("Linux", "x86_64")
SMI = "| NVIDIA-SMI 560.35  Driver Version: 560.35  CUDA Version: 12.8  |"


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12), (3, 13)])
@pytest.mark.parametrize("machine", [LINUX, ("Windows", "AMD64"), ("Darwin", "arm64")])
def test_supported_pythons_pass(version: tuple[int, int], machine: tuple[str, str]) -> None:
    computer.check_python(version, *machine)


@pytest.mark.parametrize(
    ("version", "system", "machine", "words"),
    [
        ((3, 9), *LINUX, "Expected Python 3.10 to 3.13, found 3.9"),
        ((3, 14), *LINUX, "found 3.14"),
        ((3, 11), "Linux", "aarch64", "found Linux aarch64"),
        ((3, 11), "Darwin", "x86_64", "found Darwin x86_64"),
    ],
)
def test_other_pythons_and_platforms_are_refused(
    version: tuple[int, int], system: str, machine: str, words: str,
) -> None:
    with pytest.raises(SetUpError, match=words) as caught:
        computer.check_python(version, system, machine)
    assert "\n" not in str(caught.value)


def test_a_python_without_ensurepip_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    with pytest.raises(SetUpError, match=r"python3\.12-venv"):
        computer.check_python((3, 12), *LINUX)


def test_a_linux_without_egl_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(computer.platform, "system", lambda: "Linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(SetUpError, match="apt install libegl1"):
        computer.check_egl()


@pytest.mark.parametrize("name", ["environment.py", "computer.py", "demo.py", "test.py"])
def test_old_pythons_can_read_the_commands_and_get_the_sentence(name: str) -> None:
    text = (environment.ROOT / "Testing" / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


def test_the_set_up_needs_the_standard_library_only() -> None:
    code = f"import sys; sys.path.insert(0, {str(environment.ROOT / 'Testing')!r}); import environment"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def test_no_cuda_build_without_a_driver_unless_nothing_else_is_left() -> None:
    choices = environment.torch_choices("Linux", None)
    assert [arguments[0] for arguments, _ in choices] == ["torch==2.13.0+cpu", "torch==2.13.0+cpu", "torch==2.13.0"]
    assert choices[0][0][1:] == []
    assert choices[1][0][1:] == ["--index-url", "https://download.pytorch.org/whl/cpu"]
    assert "several GB" in choices[2][1]
    assert [arguments for arguments, _ in environment.torch_choices("Windows", None)] == [["torch==2.13.0"]]
    assert [arguments for arguments, _ in environment.torch_choices("Darwin", None)] == [["torch==2.13.0"]]


def test_a_driver_gets_a_cuda_build_that_it_can_run() -> None:
    assert [arguments for arguments, _ in environment.torch_choices("Linux", SMI)] == [["torch==2.13.0"]]
    choices = environment.torch_choices("Windows", SMI)
    assert [arguments[-1].rsplit("/", 1)[-1] for arguments, _ in choices[:-1]] == ["cu128", "cu126"]
    assert choices[-1][0] == ["torch==2.13.0"]


@pytest.fixture
def installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A repository in ``tmp_path`` whose installations are recorded, not done; those named in FAIL fail."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.a]\n")
    calls: list[list[str]] = []

    def run(command: list[str], place: Path) -> str:
        calls.append(command[1:])
        if "venv" in command:
            python = environment.python_of(place)
            python.parent.mkdir(parents=True)
            python.touch()
        return "2.13.0+cpu False False"

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "run", run)
    monkeypatch.setattr(environment, "nvidia_driver", lambda: None)
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    return calls


def test_a_whole_set_up_is_made_once(installs: list[list[str]], tmp_path: Path) -> None:
    place = tmp_path / ".venv"
    assert not environment.is_whole(place, "demo")
    environment.set_up(place, "demo")
    assert environment.is_whole(place, "demo")
    assert not environment.is_whole(place, "test")
    assert sum("venv" in call for call in installs) == 1
    assert (place / "constraints.txt").read_text() == "torch==2.13.0+cpu\n"
    later = [call for call in installs if "-e" in call]
    assert later
    assert all(call[call.index("-c") + 1] == str(place / "constraints.txt") for call in later)
    environment.set_up(place, "test")
    assert environment.is_whole(place, "demo")
    assert environment.is_whole(place, "test")
    assert sum("venv" in call for call in installs) == 1
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.b]\n")
    assert environment.is_whole(place, "demo")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'y'\n[tool.b]\n")
    assert not environment.is_whole(place, "demo")


def test_an_interrupted_set_up_is_made_anew(
    installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / ".venv"
    run = environment.run

    def interrupted(command: list[str], folder: Path) -> str:
        if "-e" in command:
            (folder / "half").touch()
            raise KeyboardInterrupt
        return run(command, folder)

    monkeypatch.setattr(environment, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.set_up(place, "demo")
    assert not environment.is_whole(place, "demo")
    monkeypatch.setattr(environment, "run", run)
    environment.set_up(place, "demo")
    assert environment.is_whole(place, "demo")
    assert not (place / "half").exists()


def test_an_environment_that_is_not_ours_is_completed_not_deleted(
    installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / ".venv"
    environment.python_of(place).parent.mkdir(parents=True)
    environment.python_of(place).touch()
    (place / "mine").touch()
    run = environment.run

    def interrupted(command: list[str], folder: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.set_up(place, "demo")
    monkeypatch.setattr(environment, "run", run)
    environment.set_up(place, "demo")
    assert environment.is_whole(place, "demo")
    assert (place / "mine").exists()
    assert not any("venv" in call for call in installs)


def test_peers_that_fail_do_not_fail_the_set_up(
    installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    run = environment.run

    def without_peers(command: list[str], folder: Path) -> str:
        if ".[peers]" in command:
            raise SetUpError("no wheel")
        return run(command, folder)

    monkeypatch.setattr(environment, "run", without_peers)
    environment.set_up(tmp_path / ".venv", "test")
    assert environment.is_whole(tmp_path / ".venv", "test")
    assert "skipped" in capsys.readouterr().out


def test_the_cpu_build_is_looked_for_in_both_places_before_the_plain_one(
    installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    run = environment.run

    def plain_only(command: list[str], folder: Path) -> str:
        output = run(command, folder)
        if "torch==2.13.0+cpu" in command:
            raise (NetworkError if "--index-url" in command else SetUpError)("not there")
        return output

    monkeypatch.setattr(environment, "run", plain_only)
    environment.set_up(tmp_path / ".venv", "demo")
    assert [call[-1] for call in installs if any(word.startswith("torch==") for word in call)] == [
        "torch==2.13.0+cpu", "https://download.pytorch.org/whl/cpu", "torch==2.13.0",
    ]
    assert "several GB" in capsys.readouterr().out


def test_too_little_disk_space_is_one_sentence(
    installs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 10**9))
    with pytest.raises(SetUpError, match=r"Expected 5 GB of free disk space .* found 1\.0 GB"):
        environment.set_up(tmp_path / ".venv", "demo")
    assert installs == []


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution\nERROR: Could not find "
         "a version that satisfies the requirement torch (from versions: none)", NetworkError),
        ("WARNING: Retrying ... NewConnectionError\nERROR: Could not find a version that satisfies the requirement "
         "torch==2.13.0+cpu (from versions: 2.6.0, 2.7.0)", SetUpError),
        ("error: subprocess-exited-with-error", SetUpError),
    ],
)
def test_a_failing_command_says_why(tmp_path: Path, output: str, kind: type[SetUpError]) -> None:
    code = f"print({output!r}); raise SystemExit(1)"
    with pytest.raises(SetUpError) as caught:
        environment.run([sys.executable, "-c", code], tmp_path)
    assert type(caught.value) is kind
    assert str(tmp_path / "set-up.log") in str(caught.value)
    if kind is SetUpError:
        assert output.splitlines()[-1] in str(caught.value)
    assert output in (tmp_path / "set-up.log").read_text()


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    testing = str(environment.ROOT / "Testing")
    code = (
        f"import sys, time; sys.path.insert(0, {testing!r}); import environment\n"
        f"with environment.locked(environment.Path({str(lock)!r})):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline().strip() == b"held"
    second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert second.stdout is not None
    assert b"waiting" in second.stdout.readline()
    first.kill()  # the lock goes with the process, however it ends
    assert second.stdout.readline().strip() == b"held"
    second.kill()
    for one in (first, second):
        one.wait()
        one.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="a lock is inherited on POSIX only")
def test_a_set_up_waits_for_the_pip_of_a_killed_one(tmp_path: Path) -> None:
    testing = str(environment.ROOT / "Testing")
    code = (
        f"import sys; sys.path.insert(0, {testing!r}); import environment\n"
        f"with environment.locked(environment.Path({str(tmp_path / 'lock')!r})):\n"
        "    environment.run([sys.executable, '-c', 'import time, os; open(\"pid\", \"w\").write(str(os.getpid()));"
        f" time.sleep(600)'], environment.Path({str(tmp_path)!r}))"
    ).replace("open(\"pid\"", f"open(\"{tmp_path}/pid\"")
    first = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="the child's number")
    child = int((tmp_path / "pid").read_text())
    first.kill()
    first.wait()
    with open(tmp_path / "lock", "a+") as stream:
        assert not environment._try_lock(stream)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: environment._try_lock(stream), what="the lock")

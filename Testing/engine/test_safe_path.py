"""No process that the engine starts runs a ``torch.py`` or ``json.py`` of the user's current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine import safe_path
from diffusion_engine.jobs import job, process
from diffusion_engine.safe_path import ENGINE, code_line, module_line, no_current_folder, safe_environment
from diffusion_engine.training.team import Team, gathered
from diffusion_engine.volume import Volume
from waiting import wait_until

NAMES = ("torch", "numpy", "json", "psutil", "pickle", "multiprocessing", "socket", "argparse", "SimpleITK", "runpy")
PRINTS = "import json, sys, os; print([place for place in sys.path if place in ('', os.getcwd())], json.__file__)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, full of modules that leave a trace when they are run."""
    place = tmp_path / "here"
    place.mkdir()
    (tmp_path / "cards").mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", os.curdir, *sys.path]))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return place


def trace(here: Path) -> str:
    path = here.parent / "trace"
    return path.read_text() if path.exists() else ""


def leave_a_note(team: Team, note: str) -> None:
    """What another process of a team does here."""
    Path(note).write_text(os.getcwd())


def test_without_all_this_they_are_run(here: Path) -> None:
    subprocess.run([sys.executable, "-c", "import json"], check=True)
    assert trace(here) == "json"


def test_the_worker_runs_nothing_of_it(here: Path, tmp_path: Path) -> None:
    image = Volume(np.full((1, 8, 8), 40.0, np.float32), np.eye(4), "HU")
    folder = job.write_job(tmp_path / "job", image, {"prior": "nobody"})
    for name in NAMES:
        (folder / f"{name}.py").write_bytes((here / f"{name}.py").read_bytes())
    last = process.start(folder).wait()
    assert "no prior named 'nobody'" in last["message"]  # said by the engine, which has imported the real torch
    assert trace(here) == ""


@pytest.mark.parametrize("knows", [True, False], ids=["flag", "older Python"])
def test_commands_keep_the_current_folder_off(here: Path, knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Python knows neither -P nor PYTHONSAFEPATH."""
    if knows and sys.version_info < (3, 11):
        pytest.skip("this Python is an older one")
    monkeypatch.setattr(safe_path, "_knows_flag", lambda python: knows)
    environment = safe_environment()
    del environment["PYTHONSAFEPATH"]  # each of the two is enough
    said = subprocess.run(code_line(PRINTS), env=environment, capture_output=True, text=True, check=True).stdout
    assert said.startswith("[] ")
    line = [*module_line("diffusion_engine"), "priors", "--folder", str(here.parent / "cards")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    help_text = subprocess.run(
        [*module_line("diffusion_engine.jobs.worker"), "--help"], env=environment, capture_output=True, text=True,
        check=True,
    ).stdout
    assert "--attached" in help_text
    assert trace(here) == ""


def test_the_environment_names_the_engine_first_and_keeps_what_was_named(here: Path) -> None:
    found = safe_environment()
    places = found["PYTHONPATH"].split(os.pathsep)
    assert places[0] == ENGINE
    assert places[1:] == [place for place in sys.path if place]
    assert found["PYTHONSAFEPATH"] == "1"


def test_processes_of_a_team_run_nothing_of_it_and_find_their_files(here: Path) -> None:
    with gathered(2, leave_a_note, ["note"]) as team:
        assert team.size == 2
        for_helpers = Path("note")
        assert wait_until(lambda: for_helpers.exists() and for_helpers.read_text()) == str(here.resolve())
    assert trace(here) == ""
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize("command", [["diffusion_engine", "priors", "--folder"], ["diffusion_engine.jobs.worker"]])
def test_the_shells_own_call_takes_the_current_folder_off(here: Path, command: list[str]) -> None:
    """What Python itself imports before the engine is called, nobody can help: here it is no module of the folder."""
    for name in ("runpy", "multiprocessing"):
        (here / f"{name}.py").unlink()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    line = [sys.executable, "-m", *command, str(here.parent / "cards")]
    code = subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
    assert code == (1 if command[-1].endswith("worker") else 0)  # a folder of cards is no job
    assert trace(here) == ""


def test_the_environment_is_as_before_also_after_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for before in (None, "x"):
        if before is None:
            monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONSAFEPATH", before)
        current = Path.cwd()
        with pytest.raises(KeyError), no_current_folder(tmp_path):
            raise KeyError(os.environ["PYTHONSAFEPATH"])
        assert os.environ.get("PYTHONSAFEPATH") == before
        assert Path.cwd() == current

"""The set-up's states with an installer of the test's own, the doctor's line, the estimate; nothing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from DiffusionReconLib.jobs.estimate import Rate, estimate, rateOf, stepsOf, timeText, workingShape
from DiffusionReconLib.setup import setup_steps
from DiffusionReconLib.setup.doctor import Doctor, deviceLine
from DiffusionReconLib.setup.setup_steps import BLOCKED, INSTALLING, NEEDS, READY, TORCH, Need, Setup, SlicerInstaller
from host.application import Application

MONAI = next(need for need in NEEDS if need.module == "monai")


class World:
    """A computer without the packages; `line` is what its installer says, `code` how it ends."""

    def __init__(
        self, *missing: Need, extension: bool = True, free: float = 50.0, code: int = 0, line: str = ""
    ) -> None:
        self.needs, self.extension, self.free, self.code, self.line = list(missing), extension, free, code, line
        self.calls: list[str] = []
        self.ended: Callable[[int], None] | None = None

    def missing(self) -> list[Need]:
        return list(self.needs)

    def canInstallTorch(self) -> bool:
        return self.extension

    def freeGigabytes(self) -> float:
        return self.free

    def installTorch(self, log: Callable[[str], None]) -> int:
        self.calls.append("torch")
        log(self.line)
        if self.code == 0:
            self.needs.remove(TORCH)
        return self.code

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        self.calls += [need.module for need in needs]
        log(self.line)
        self.ended = ended

    def finish(self) -> None:
        if self.code == 0:
            self.needs.clear()
        self.ended(self.code)


def yes(_question: str) -> bool:
    return True


def test_nothingMissingIsReadyAndAsksNothing(application: Application) -> None:
    setup = Setup(World(), lambda _question: pytest.fail("it asked"))
    assert setup.begin() == READY
    assert setup.button is None


def test_torchThenTheOthersThenReady(application: Application) -> None:
    world, asked = World(TORCH, MONAI, line="Collecting"), []
    setup = Setup(world, lambda question: asked.append(question) or True)
    assert setup.begin() == INSTALLING
    assert len(asked) == 1
    assert "torch>=2.8, monai>=1.5" in asked[0]
    assert not world.calls  # the sentence is shown before anything waits
    assert "PyTorch" in setup.sentence
    assert setup.poll() == INSTALLING
    assert setup.poll() == INSTALLING
    assert setup.poll() == INSTALLING  # until the installer says its end
    assert world.calls == ["torch", "monai"]
    world.finish()
    assert setup.poll() == READY
    assert setup.fraction == 1.0
    assert setup.log == ["Collecting", "Collecting"]


@pytest.mark.parametrize(
    ("world", "words", "button"),
    [
        (World(TORCH, extension=False), "install the extension 'PyTorch'", "Open the Extensions Manager"),
        (World(TORCH, free=2.0), "needs about 6.0 GB on the disk, 2.0 GB are free", "Try again"),
    ],
)
def test_whatCannotBeginIsOneSentenceAndAButton(
    world: World, words: str, button: str, application: Application
) -> None:
    setup = Setup(world, lambda _question: pytest.fail("it asked"))
    assert setup.begin() == BLOCKED
    assert words in setup.sentence
    assert setup.button == button
    assert setup.openExtensions == (not world.extension)
    assert not world.calls


def test_noIsAnAnswer(application: Application) -> None:
    world = World(MONAI)
    setup = Setup(world, lambda _question: False)
    assert setup.begin() == BLOCKED
    assert setup.button == "Set up now"
    assert not world.calls


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "network cannot be reached"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: ResolutionImpossible", "nothing was replaced"),
        ("PermissionError: [Errno 13] Permission denied", "cannot be written"),
        ("something else", "could not be installed (monai>=1.5): see the log"),
    ],
)
def test_aFailedInstallationSaysWhyAndCanBeTriedAgain(line: str, words: str, application: Application) -> None:
    world = World(MONAI, code=1, line=line)
    setup = Setup(world, yes)
    setup.begin()
    setup.poll()
    world.finish()
    assert setup.poll() == BLOCKED
    assert words in setup.sentence
    assert setup.button == "Try again"
    world.code = 0
    assert setup.begin() == INSTALLING
    setup.poll()
    world.finish()
    assert setup.poll() == READY


def test_anInstallerThatEndsWellButInstalledNothingIsNotBelieved(application: Application) -> None:
    world = World(MONAI)
    setup = Setup(world, yes)
    setup.begin()
    setup.poll()
    world.ended(0)
    assert setup.poll() == BLOCKED
    assert "monai>=1.5" in setup.sentence


def test_slicersOwnPackagesArePinned(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy
    import slicer.packaging

    given: dict[str, Any] = {}

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)

    def install(requirements: list[str], constraints: str, completedCallback: Any, **named: Any) -> None:
        assert os.environ["PYTHONSAFEPATH"] == "1"  # pip, too, runs nothing of the current folder
        given.update(named, requirements=requirements, constraints=Path(constraints).read_text(encoding="utf-8"))
        completedCallback(0)

    monkeypatch.setattr(slicer.packaging, "pip_install", install)
    codes: list[int] = []
    SlicerInstaller().start([MONAI], print, codes.append)
    assert codes == [0]
    assert given["requirements"] == ["monai>=1.5"]
    assert given["blocking"] is False
    assert "PYTHONSAFEPATH" not in os.environ
    lines = given["constraints"].split()
    assert f"numpy=={numpy.__version__}" in lines
    assert {line.partition("==")[0] for line in lines} >= {"numpy", "SimpleITK", "torch"}


def test_tooOldCountsAsMissing(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SlicerInstaller().missing() == []
    monkeypatch.setattr(setup_steps.importlib.metadata, "version", lambda _name: "2.7.1+cu118")
    assert TORCH in SlicerInstaller().missing()


def test_torchComesThroughItsExtension(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []

    def install(**named: Any) -> None:
        assert os.environ["PYTHONSAFEPATH"] == "1"
        asked.append(named)

    logic = types.SimpleNamespace(installTorch=install)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    assert SlicerInstaller().installTorch(print) == 0
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.8"}]


@pytest.mark.parametrize(
    ("facts", "nvidia", "words"),
    [
        ({"torch": "2.8", "cuda": "12.8", "available": True, "name": "H200", "gigabytes": 139.7}, True, "H200, 140 GB"),
        ({"torch": "2.8", "cuda": None, "available": False}, True, "no CUDA for your driver; to change"),
        ({"torch": "2.8", "cuda": "12.8", "available": False}, True, "update the driver"),
        ({"torch": "2.8", "cuda": None, "available": False}, False, "no NVIDIA GPU was found"),
        ({"error": "DLL load failed"}, False, "PyTorch does not start (DLL load failed)"),
    ],
)
def test_doctorSaysWhatRunsWhereAndWhy(facts: dict, nvidia: bool, words: str, application: Application) -> None:
    assert words in deviceLine(facts, nvidia, 8)


def test_theModuleLoadsBeforeItsPackagesAreInstalled(tmp_path: Path) -> None:
    """Slicer reads every file of the module before the first set-up, which brings these packages."""
    code = (
        "import importlib, pathlib, sys\n"
        f"for name in {[need.module for need in NEEDS]}: sys.modules[name] = None\n"
        "from host.application import makeApplication\n"
        f"makeApplication({str(tmp_path)!r})\n"
        "import DiffusionRecon\n"
        "folder = pathlib.Path(DiffusionRecon.__file__).parent\n"
        "for path in sorted(folder.glob('DiffusionReconLib/**/*.py')):\n"
        "    if path.parent.name != 'panel':\n"
        "        importlib.import_module('.'.join(path.relative_to(folder).with_suffix('').parts))\n"
        "from diffusion_engine.io import images\n"
        "print('read')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.strip() == "read", run.stderr


def test_doctorSpeaksOfAPythonThatGivesNoAnswer(application: Application) -> None:
    doctor = Doctor("/bin/true" if sys.platform != "win32" else sys.executable)
    doctor._process.wait()
    assert "PyTorch does not start" in doctor.poll()
    assert doctor.poll() is None


def test_doctorRunsNothingOfTheCurrentFolder(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('ran {name}')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", *sys.path]))
    doctor = Doctor()
    doctor._process.wait()
    assert "does not start" not in doctor.poll()


def test_estimateGrowsWithTheWorkAndSaysWhenItCannotFit(application: Application) -> None:
    rate = Rate(10.0, 2.0, 500.0, "cpu")
    settings = {"draws": 4, "steps": 30}
    small, large = (estimate(settings, (n, 256, 256), rate, True, 8000.0) for n in (4, 16))
    assert large.seconds - 10 == pytest.approx((small.seconds - 10) * 17 / 5)
    assert small.fits
    assert small.text.startswith("4 samples of 4 slices on cpu: about ")
    assert "estimate" in small.text
    tight = estimate(settings, (2000, 512, 512), rate, True, 2000.0)
    assert not tight.fits
    assert "choose at most" in tight.text or "smaller region" in tight.text
    classical = estimate({"methods": ["fbp", "tv"]}, (1, 64, 64), rate, False, 8000.0)
    assert classical.text.startswith("Classical images of 1 slice")


def test_rateOfARunGivesItsTimeBack(application: Application) -> None:
    settings = {"draws": 2, "steps": 10, "tv_iterations": 400, "methods": ["fbp", "tv", "diffusion"]}
    report = {"geometry": {"rows": 200, "columns": 100}, "settings": settings, "seconds": 50.0,
              "metrics": {"tv": {"seconds": 8.0}, "diffusion": {"seconds": 24.0}}, "peak_memory_mb": 700.0,
              "device": "cpu"}
    rate = rateOf(report, 4)
    assert rate is not None
    again = estimate(settings, (4, 200, 100), rate, True, 1e6)
    assert again.seconds == pytest.approx(50.0)
    assert rateOf({"seconds": 1.0}, 4) is None
    assert Rate.fromDict(rate.toDict()) == rate
    assert Rate.fromDict({"startSeconds": "no"}) == Rate()
    assert stepsOf(settings) == pytest.approx(20 + 0.02 * 400)


def test_wordsOfTimeAndShape(application: Application) -> None:
    assert [timeText(seconds) for seconds in (2, 62, 600, 9000)] == ["5 s", "60 s", "10 min", "2.5 h"]
    assert workingShape((3, 512, 512), (0.7, 0.7), 1.25) == (3, 256, 256)
    assert workingShape((3, 128, 100), (2.0, 2.0), 1.25) == (3, 128, 100)
    assert workingShape((3, 128, 100), (0.7, 3.0), 1.25) == (3, 128, 50)

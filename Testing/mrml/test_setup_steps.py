"""The set-up's states with an installer of the test's own, the doctor's line, the estimate; nothing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from DiffusionReconLib.jobs.estimate import Rate, estimate, rateOf, stepsOf, timeText, workingShape
from DiffusionReconLib.setup import installer, needs
from DiffusionReconLib.setup.doctor import Doctor, deviceLine
from DiffusionReconLib.setup.installer import SlicerInstaller, heard, requirePackages
from DiffusionReconLib.setup.needs import NEEDS, TORCH, Need, cudaOfTorch
from DiffusionReconLib.setup.setup_steps import BLOCKED, INSTALLING, READY, Setup, troubleOf
from DiffusionReconLib.setup.version import tooOld
from host import extensions, packages
from host.application import Application
from host.older import slicer510

MONAI = next(need for need in NEEDS if need.module == "monai")


class World:
    """A computer without the packages; `line` is what its installer says, `code` how it ends.

    `older`: versions that are there and too old, by package; `driver`: of NVIDIA; `refuses`: why it has no torch.
    """

    def __init__(
        self, *missing: Need, extension: bool = True, free: float = 50.0, code: int = 0, line: str = "",
        older: dict[str, str] | None = None, driver: bool = True, refuses: str = "",
    ) -> None:
        self.needs, self.extension, self.free, self.code, self.line = list(missing), extension, free, code, line
        self.older, self.driver, self.refuses = older or {}, driver, refuses
        self.calls: list[str] = []
        self.ended: Callable[[int], None] | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def missing(self) -> list[Need]:
        return list(self.needs)

    def found(self, need: Need) -> str | None:
        return self.older.get(need.package)

    def refusal(self) -> str:
        return self.refuses

    def hasDriver(self) -> bool:
        return self.driver

    def torchBuild(self) -> str:
        return "PyTorch 2.9.0 is there, the build for CUDA 12.8."

    def canInstallTorch(self) -> bool:
        return self.extension

    def freeGigabytes(self) -> float:
        return self.free

    def installTorch(self, log: Callable[[str], None]) -> int:
        self.calls.append("torch")
        log(self.line)
        self.meanwhile()
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


def test_anAttemptKnowsNothingOfTheOneBefore(application: Application) -> None:
    """Neither its log, which tells what went wrong, nor where its button led."""
    world = World(TORCH, extension=False, code=1, line="NewConnectionError")
    setup = Setup(world, yes)
    assert setup.begin() == BLOCKED
    assert setup.openExtensions
    world.extension = True
    assert (setup.begin(), setup.poll()) == (INSTALLING, BLOCKED)
    assert not setup.openExtensions
    assert "network cannot be reached" in setup.sentence
    world.line = "Failed building wheel"
    assert (setup.begin(), setup.poll()) == (INSTALLING, BLOCKED)
    assert "no ready-made package" in setup.sentence
    assert setup.log == ["Failed building wheel"]
    world.code = 0
    assert (setup.begin(), setup.poll(), setup.poll()) == (INSTALLING, INSTALLING, READY)


def test_anInstallerThatCouldNotBeStartedIsStartedAgain(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(MONAI)
    setup, start = Setup(world, yes), world.start

    def refuse(*_given: object) -> None:
        raise RuntimeError("A non-blocking pip_install is already in progress.")

    monkeypatch.setattr(world, "start", refuse)
    assert (setup.begin(), setup.poll()) == (INSTALLING, BLOCKED)
    assert "Another installation" in setup.sentence
    monkeypatch.setattr(world, "start", start)
    assert (setup.begin(), setup.poll()) == (INSTALLING, INSTALLING)
    world.finish()
    assert setup.poll() == READY


def test_torchThenTheOthersThenReady(application: Application) -> None:
    world, asked = World(TORCH, MONAI, line="Collecting"), []
    setup = Setup(world, lambda question: asked.append(question) or True)
    assert setup.begin() == INSTALLING
    assert len(asked) == 1
    assert "torch>=2.9, monai>=1.5 (about 6.1 GB" in asked[0]
    assert "the build for CUDA, since there is an NVIDIA driver" in asked[0]
    assert "replaced" not in asked[0]
    assert not world.calls  # the sentence is shown before anything waits
    assert "PyTorch" in setup.sentence
    assert setup.poll() == INSTALLING
    assert setup.poll() == INSTALLING
    assert setup.poll() == INSTALLING  # until the installer says its end
    assert world.calls == ["torch", "monai"]
    world.finish()
    assert setup.poll() == READY
    assert setup.fraction == 1.0
    assert setup.log == ["Collecting", "PyTorch 2.9.0 is there, the build for CUDA 12.8.", "Collecting"]


def test_theQuestionSaysWhatItReplacesAndWhichBuildItTakes(application: Application) -> None:
    asked: list[str] = []
    world = World(TORCH, MONAI, older={"torch": "2.6.0+cu124", "monai": "1.3.0"}, driver=False)
    Setup(world, lambda question: asked.append(question) or False).begin()
    assert "torch 2.6.0+cu124, which another extension may have installed, is too old and gets replaced." in asked[0]
    assert "monai 1.3.0, which another extension may have installed, is too old and gets replaced." in asked[0]
    assert "the build for processors (CPU), since there is no NVIDIA driver" in asked[0]
    assert "about 1.6 GB" in asked[0]
    assert not world.calls


def test_aTimerThatTurnsWhileTorchIsInstalledStartsNothing(application: Application) -> None:
    """Slicer lets its timers run while it waits for pip: the others would be installed at the same time."""
    world = World(TORCH, MONAI)
    setup = Setup(world, yes)
    world.meanwhile = lambda: (setup.poll(), setup.begin(), world.calls.append("turned"))
    setup.begin()
    assert setup.poll() == INSTALLING
    assert world.calls == ["torch", "turned"]
    setup.poll()
    assert world.calls == ["torch", "turned", "monai"]


def test_anInstallerThatBreaksEndsTheSetUpWithASentence(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(TORCH)
    world.meanwhile = lambda: {}["no such entry"]
    setup = Setup(world, yes)
    setup.begin()
    assert setup.poll() == BLOCKED
    assert setup.sentence == "The installer failed: see the log, then try again."
    assert caplog.records[0].exc_info[0] is KeyError
    world.meanwhile = lambda: None
    setup.begin()
    setup.poll()
    assert setup.poll() == READY


@pytest.mark.parametrize(
    ("world", "words", "button"),
    [
        (World(TORCH, extension=False), "install the extension 'PyTorch'", "Open the Extensions Manager"),
        (World(TORCH, free=2.0), "needs about 6.0 GB on the disk, 2.0 GB are free", "Try again"),
        (World(TORCH, free=1.0, driver=False), "needs about 1.5 GB on the disk, 1.0 GB are free", "Try again"),
        (World(TORCH, refuses="There is no PyTorch for this computer."), "There is no PyTorch", "Try again"),
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
        ("ERROR: No matching distribution found for monai>=1.5", "no ready-made package for this Slicer's Python"),
        ("something else", "could not be installed: monai>=1.5; see the log"),
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


def test_aNetworkThatIsAwayIsNoMissingWheel() -> None:
    """pip says both: that it could not ask, and that it therefore found no version."""
    text = "WARNING: Retrying after NewConnectionError\nERROR: No matching distribution found for torch>=2.9"
    assert "network cannot be reached" in troubleOf(text)
    assert troubleOf("Successfully installed monai") == ""
    assert "wait for its end" in troubleOf("A non-blocking pip_install is already in progress. Wait for it to complete")


def test_underTestingSlicerCallsNothingBack(
    application: Application, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits for pip, prints what it says, and raises without it."""
    import slicer

    assert slicer.app.testingEnabled()
    codes: list[int] = []
    packages.setInstaller(lambda _arguments: iter(["Successfully installed monai"]))
    SlicerInstaller().start([MONAI], print, codes.append)
    assert codes == [0]

    def prints(_requirements: list[str], **_named: Any) -> None:
        print("ERROR: NewConnectionError")
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(slicer.packaging, "pip_install", prints)
    lines: list[str] = []
    SlicerInstaller().start([MONAI], lines.append, codes.append)
    packages.setInstaller(None)
    assert codes == [0, 1]
    assert lines[0] == "ERROR: NewConnectionError"
    assert "NewConnectionError" in capsys.readouterr().out  # Slicer's own console has it as before


def test_tooOldCountsAsMissing(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SlicerInstaller().missing() == []
    monkeypatch.setattr(needs.importlib.metadata, "version", lambda _name: "2.7.1+cu118")
    assert TORCH in SlicerInstaller().missing()
    monkeypatch.setattr(needs.importlib.metadata, "version", lambda _name: "2.10.0")
    assert TORCH not in SlicerInstaller().missing()


def test_trainingAsksForTheTorchThatBroughtItsOptimiser(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = needs.importlib.metadata.version
    monkeypatch.setattr(
        needs.importlib.metadata, "version", lambda name: "2.8.0+cpu" if name == "torch" else real(name))
    requirePackages()
    with pytest.raises(RuntimeError, match=r"Training needs PyTorch 2\.9 or newer, and 2\.8\.0\+cpu is installed"):
        requirePackages(training=True)


def test_whereThereIsNoTorchItIsSaidBeforeAnythingIsAsked(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SlicerInstaller().refusal() == ""
    with monkeypatch.context() as patch:
        patch.setattr(installer.sys, "platform", "darwin")
        patch.setattr(installer.platform, "machine", lambda: "x86_64")
        assert "for Macs with an Intel processor" in SlicerInstaller().refusal()
        patch.setattr(installer.platform, "machine", lambda: "arm64")
        assert SlicerInstaller().refusal() == ""
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setattr(installer, "installed", lambda _need: False)
    monkeypatch.setattr(installer, "foundVersion", lambda _need: "2.2.0")
    assert "PyTorch 2.2.0 is in use by another module" in SlicerInstaller().refusal()
    with pytest.raises(RuntimeError, match="is in use by another module"):
        requirePackages(World(TORCH, refuses=SlicerInstaller().refusal()))


def test_torchComesThroughItsExtension(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []

    def install(**named: Any) -> None:
        assert os.environ["PYTHONSAFEPATH"] == "1"
        asked.append(named)

    logic = types.SimpleNamespace(installTorch=install)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    assert SlicerInstaller().installTorch(print) == 0
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.9"}]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (ConnectionError("<urlopen error [Errno -3] Temporary failure in name resolution>"), "network cannot be"),
        (OSError(28, "No space left on device"), "disk is full"),
        (RuntimeError("ERROR: Could not find a version that satisfies the requirement torch>=2.9"), "no ready-made"),
        (RuntimeError("something else"), "see the log, or use the module 'PyTorch Utils'"),
    ],
)
def test_whatPipPrintsOfTorchIsHeard(
    said: Exception, words: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension's error has nothing of it."""
    def pip(arguments: list[str]) -> Iterator[str]:
        yield f"Collecting {arguments[1]}"
        raise said

    monkeypatch.delitem(sys.modules, "torch", raising=False)  # a module that is in use cannot be installed
    left = [TORCH]
    monkeypatch.setattr(SlicerInstaller, "missing", lambda _self: list(left))
    monkeypatch.setattr(installer, "installed", lambda need: need not in left)
    with extensions.installed(PyTorchUtils=extensions.pyTorchUtils(pip)):
        setup = Setup(SlicerInstaller(), yes)
        assert setup.begin() == INSTALLING
        assert setup.poll() == BLOCKED
    assert words in setup.sentence
    assert setup.log[0] == "Collecting torch>=2.9"


def test_theBuildThatCameIsNamed(
    application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "version.py").write_text(
        "from typing import Optional\n__version__ = '2.9.0+cu128'\ncuda: Optional[str] = '12.8'\nhip = None\n")
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda _name: spec)
    monkeypatch.setattr(installer, "foundVersion", lambda _need: "2.9.0")
    assert cudaOfTorch() == "12.8"
    assert SlicerInstaller().torchBuild() == "PyTorch 2.9.0 is there, the build for CUDA 12.8."
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    assert cudaOfTorch() is None
    for driver, words in ((True, "although this computer has an NVIDIA driver"), (False, "the build for processors")):
        monkeypatch.setattr(SlicerInstaller, "hasDriver", lambda _self, driver=driver: driver)
        assert words in SlicerInstaller().torchBuild()


def test_linesThatArePrintedAreHeardWhole(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with heard(lines.append):
        print("Collecting ", end="")
        print("torch\n\nDownloading")
        sys.stdout.flush()
        print("no end", end="")
    assert lines == ["Collecting torch", "Downloading", "no end"]
    assert capsys.readouterr().out == "Collecting torch\n\nDownloading\nno end"
    print("not heard")
    assert len(lines) == 3


def test_anOlderSlicerIsToldSo(application: Application) -> None:
    assert tooOld() == ""
    with slicer510():
        assert tooOld().startswith("Diffusion Reconstruction needs Slicer 5.12 or newer, but this is ")


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
    # Two samples of ten steps, the one of a model that counts in full, and total variation.
    assert stepsOf(settings) == pytest.approx(2 * 10 + 10 + 0.02 * 400)
    narrow = {**settings, "solver_options": {"broad_std": 0.0}}
    assert stepsOf(narrow) == pytest.approx(2 * 10 + 0.02 * 400)


def test_wordsOfTimeAndShape(application: Application) -> None:
    assert [timeText(seconds) for seconds in (2, 62, 600, 9000)] == ["5 s", "60 s", "10 min", "2.5 h"]
    assert workingShape((3, 512, 512), (0.7, 0.7), 1.25) == (3, 256, 256)
    assert workingShape((3, 128, 100), (2.0, 2.0), 1.25) == (3, 128, 100)
    assert workingShape((3, 128, 100), (0.7, 3.0), 1.25) == (3, 128, 50)

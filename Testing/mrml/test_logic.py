"""The module's logic with prepared and with real engine processes, on a real MRML scene, not run in the application."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from diffusion_engine import __version__
from diffusion_engine.phantoms import chest, torso
from DiffusionReconLib.jobs.engine import ReconstructionCancelled
from DiffusionReconLib.modalities.table import recognised
from DiffusionReconLib.scene.volumes import unitOfNode
from DiffusionReconLib.setup import needs, sample_data
from DiffusionReconLib.setup.installer import requirePackages
from host import extensions
from host.application import Application, loadScriptedModule
from host.launcher import launcherAsExecutable
from host.results import analyticThorax, axialMatrix, writeResultFolder

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (6, 32, 32)
PROGRESS = {"event": "progress", "stage": "tv", "step": 1, "total": 2, "fraction": 0.5, "seconds_left": 3.2}
# A worker in place of the engine's: speaks, then waits for the file `cancel`.
WAITING_WORKER = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
print(json.dumps({"event": "progress", "stage": "wait", "step": 0, "total": 1, "fraction": 0.0}), flush=True)
while not (folder / "cancel").exists():
    time.sleep(0.02)
print(json.dumps({"event": "cancelled"}), flush=True)
"""


class PreparedEngine:
    """Plays messages back instead of running the engine, over a result folder that is already whole."""

    def __init__(self, folder: Path, messages: list[dict]) -> None:
        self.folder, self._messages, self.cancelled = folder, messages, False
        self.job = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def running(self) -> bool:
        return bool(self._messages)

    def poll(self) -> list[dict]:
        if self.cancelled:
            self._messages = []
            return [{"event": "cancelled"}]
        return [self._messages.pop(0)] if self._messages else []

    def cancel(self) -> None:
        self.cancelled = True


class Runner:
    """Starts PreparedEngine and remembers it."""

    def __init__(self, *messages: dict, result: bool = True) -> None:
        self.messages, self.result = messages, result

    def __call__(self, folder: Path) -> PreparedEngine:
        if self.result:
            writeResultFolder(folder, SHAPE)
        self.engine = PreparedEngine(folder, [dict(message) for message in self.messages])
        return self.engine


@pytest.fixture
def module(application: Application) -> object:
    return loadScriptedModule(ROOT / "DiffusionRecon" / "DiffusionRecon.py")


@pytest.fixture
def inputNode(application: Application) -> slicer.vtkMRMLScalarVolumeNode:
    return slicer.util.addVolumeFromArray(analyticThorax(SHAPE).astype(np.int16), axialMatrix(SHAPE), "Chest")


def leftovers() -> list[Path]:
    return list(Path(slicer.app.temporaryPath).glob("DiffusionRecon-*"))


def nodeIDs() -> list[str]:
    nodes = slicer.mrmlScene.GetNodes()
    return [nodes.GetItemAsObject(index).GetID() for index in range(nodes.GetNumberOfItems())]


def test_reconstructGivesNodesReportsProgressAndCleansUp(module: object, inputNode: object) -> None:
    runner, seen = Runner(PROGRESS, {"event": "done", "result": "result.json"}), []
    nodes = module.DiffusionReconLogic(runner).reconstruct(inputNode, {"views": 20}, seen.append)
    assert nodes["mean"].GetName().startswith("Chest diffusion mean (")
    assert [message["event"] for message in seen] == ["progress", "done"]
    assert runner.engine.job["kind"] == "simulate"
    assert runner.engine.job["settings"] == {"views": 20}
    assert not leftovers()


def test_jobHoldsTheInputAndTheSlicesOfAFlippedNode(module: object, application: Application) -> None:
    matrix = axialMatrix(SHAPE) @ np.diag([1.0, 1.0, -1.0, 1.0])
    node = slicer.util.addVolumeFromArray(analyticThorax(SHAPE), matrix, "upside down")
    kept = {}

    def runner(folder: Path) -> PreparedEngine:
        from diffusion_engine.io.images import read_volume

        kept["volume"] = read_volume(folder / "input.nrrd")
        kept["engine"] = Runner({"event": "done", "result": "result.json"})(folder)
        return kept["engine"]

    module.DiffusionReconLogic(runner).reconstruct(node, {"slices": [0, 2]})
    assert "slices" not in kept["engine"].job["settings"]  # only the wanted slices are copied
    assert kept["volume"].unit == "HU"
    assert np.array_equal(kept["volume"].array, slicer.util.arrayFromVolume(node)[0:2][::-1])
    corner = kept["volume"].ijk_to_ras @ [0, 0, 1, 1]  # the last slice there is the node's first
    assert np.allclose(corner, matrix @ [0, 0, 0, 1])


def test_engineErrorIsRaisedAsItsSentenceAndTheSceneIsAsItWas(module: object, inputNode: object) -> None:
    before = nodeIDs()
    runner = Runner(PROGRESS, {"event": "error", "message": "Not enough memory: choose fewer slices."}, result=False)
    with pytest.raises(RuntimeError, match=r"^Not enough memory: choose fewer slices\.$"):
        module.DiffusionReconLogic(runner).reconstruct(inputNode)
    assert nodeIDs() == before
    assert not leftovers()


def test_progressThatReturnsFalseCancels(module: object, inputNode: object) -> None:
    before = nodeIDs()
    runner = Runner(PROGRESS, PROGRESS, {"event": "done", "result": "result.json"})
    with pytest.raises(ReconstructionCancelled):
        module.DiffusionReconLogic(runner).reconstruct(inputNode, progress=lambda _message: False)
    assert runner.engine.cancelled
    assert nodeIDs() == before
    assert not leftovers()


def test_cancelEndsARealProcess(module: object, inputNode: object, tmp_path: Path) -> None:
    from diffusion_engine.jobs.process import start

    script = tmp_path / "worker.py"
    script.write_text(WAITING_WORKER, encoding="ascii")
    started = []

    def runner(folder: Path) -> object:
        started.append(start(folder, command=[sys.executable, str(script)]))
        return started[0]

    with pytest.raises(ReconstructionCancelled):
        module.DiffusionReconLogic(runner).reconstruct(inputNode, progress=lambda _message: False)
    assert not started[0].running()
    assert not leftovers()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in's launcher is a shell script")
def test_wantOfMemoryIsSaidBehindSlicersLauncher(
    module: object, inputNode: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PythonSlicer makes exit code 1 of a worker that the system killed."""
    from diffusion_engine.jobs import process, shortage

    counts = iter((4, 5))
    monkeypatch.setattr(shortage, "killed_for_memory", lambda: next(counts))
    script = tmp_path / "worker.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", encoding="ascii")
    with launcherAsExecutable(tmp_path) as launcher:
        logic = module.DiffusionReconLogic(lambda folder: process.start(folder, command=[str(launcher), str(script)]))
        with pytest.raises(RuntimeError, match=r"The memory did not suffice, .* choose fewer slices"):
            logic.reconstruct(inputNode)
    assert not leftovers()


def test_unusableInputStartsNothing(module: object, application: Application) -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    before = nodeIDs()

    def runner(_folder: Path) -> object:
        raise AssertionError("the engine must not start")

    for node, words in ((empty, "no voxels"), (None, "No input volume")):
        with pytest.raises(ValueError, match=words):
            module.DiffusionReconLogic(runner).reconstruct(node)
    assert nodeIDs() == before
    assert not leftovers()


def test_measuredFilesAreCopiedIntoTheJob(module: object, application: Application, tmp_path: Path) -> None:
    from diffusion_engine.io.images import write_volume
    from diffusion_engine.volume import Volume

    sinogram, geometry = tmp_path / "Messung ß.nrrd", tmp_path / "Geometrie ß.json"
    write_volume(Volume(np.ones((2, 5, 9), np.float32), np.eye(4), "line_integrals"), sinogram)
    geometry.write_text(json.dumps({"type": "parallel"}), encoding="utf-8")
    copied = {}

    def runner(folder: Path) -> PreparedEngine:
        copied.update({path.name: path.read_bytes() for path in folder.iterdir()})
        return Runner({"event": "done", "result": "result.json"})(folder)

    nodes = module.DiffusionReconLogic(runner).reconstructMeasured(sinogram, geometry, {"draws": 2})
    assert nodes["mean"].GetName().startswith("CT diffusion mean (")
    assert copied["sinogram.nrrd"] == sinogram.read_bytes()
    assert copied["geometry.json"] == geometry.read_bytes()
    assert json.loads(copied["job.json"]) == {
        "kind": "measured",
        "input": "sinogram.nrrd",
        "geometry": "geometry.json",
        "settings": {"draws": 2},
    }
    geometry.write_text("{", encoding="ascii")
    for arguments, words in (
        ((sinogram, geometry), "not valid JSON"),
        ((tmp_path / "none.nrrd", geometry), "sinogram must be an existing .nrrd"),
        ((sinogram, sinogram), "geometry must be an existing .json"),
    ):
        with pytest.raises(ValueError, match=words):
            module.DiffusionReconLogic(runner).reconstructMeasured(*arguments)
    assert not leftovers()


def test_theVarianceThatAGeometryNamesComesIntoTheJob(
    module: object, application: Application, tmp_path: Path
) -> None:
    from diffusion_engine.io.images import write_volume
    from diffusion_engine.volume import Volume

    sinogram, geometry = tmp_path / "scan.nrrd", tmp_path / "scan.json"
    write_volume(Volume(np.ones((2, 5, 9), np.float32), np.eye(4), "line_integrals"), sinogram)
    described = {"type": "parallel", "variance": "sinogram.nrrd"}
    geometry.write_text(json.dumps(described), encoding="utf-8-sig")  # as some editors save it
    logic, copied = module.DiffusionReconLogic, {}

    def runner(folder: Path) -> PreparedEngine:
        copied.update({path.name: path.read_bytes() for path in folder.iterdir()})
        return Runner({"event": "done", "result": "result.json"})(folder)

    with pytest.raises(ValueError, match=r"file beside .*scan\.json.* but 'sinogram\.nrrd' is not"):
        logic(runner).reconstructMeasured(sinogram, geometry)
    (tmp_path / "sinogram.nrrd").write_bytes(b"variance")
    logic(runner).reconstructMeasured(sinogram, geometry)
    assert copied["sinogram.nrrd"] == sinogram.read_bytes()
    assert copied["geometry.variance.nrrd"] == b"variance"
    assert json.loads(copied["geometry.json"]) == {**described, "variance": "geometry.variance.nrrd"}
    for name in ("../scan.nrrd", str(sinogram), 3):
        geometry.write_text(json.dumps({**described, "variance": name}), encoding="utf-8")
        with pytest.raises(ValueError, match="must be the name of a file beside"):
            logic(runner).reconstructMeasured(sinogram, geometry)
    assert not leftovers()


def test_missingPackagesAreNamedWithWhatToInstall(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(*missing: str) -> None:
        monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: None if name in missing else real(name))

    monkeypatch.delitem(sys.modules, "torch", raising=False)  # a module that is in use cannot be installed
    requirePackages()
    without("torch", "PyTorchUtils")
    with pytest.raises(RuntimeError, match="install the extension 'PyTorch'"):
        requirePackages()
    without("safetensors", "slicer.packaging")
    with pytest.raises(RuntimeError, match=r"missing: safetensors>=0\.4"):
        requirePackages()


def test_importingModuleAndStartingAJobImportsNoTorch(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "DiffusionRecon")!r}, {str(ROOT / "Testing")!r}, {str(ROOT / "Testing" / "mrml")!r}]
from host.application import makeApplication
makeApplication({str(tmp_path)!r})
import DiffusionRecon
import slicer.util, numpy as np
heavy = {{"torch", "monai", "qt", "SampleData", "SimpleITK"}} & set(sys.modules)
assert not heavy, heavy
import test_logic
node = slicer.util.addVolumeFromArray(test_logic.analyticThorax(test_logic.SHAPE), name="Chest")
from DiffusionReconLib.jobs.engine import Reconstruction, simulateFrom, startEngine
import diffusion_engine.jobs.process
running = Reconstruction(simulateFrom(node, {{}}), test_logic.Runner({{"event": "done"}}, result=False))
running.wait()
running.close()
import importlib
from DiffusionReconLib.panel import soon
for name in soon.MODULES:
    importlib.import_module(name)
heavy = {{"torch", "monai", "qt", "SimpleITK", "pydicom"}} & set(sys.modules)
assert not heavy, heavy
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_selfTestOfTheModuleRuns(module: object) -> None:
    module.DiffusionReconTest().runTest()


def test_moduleDescribesItself(module: object) -> None:
    class Parent:
        pass

    parent = module.DiffusionRecon(Parent()).parent
    assert parent.title == "Diffusion Reconstruction"
    assert parent.categories == ["Tomographic Reconstruction"]


def test_syntheticChestBecomesANode(module: object, application: Application) -> None:
    node = module.DiffusionReconLogic().makeSyntheticChest()
    low, high = slicer.util.arrayFromVolume(node).min(), slicer.util.arrayFromVolume(node).max()
    assert node.GetName() == "SyntheticChestCT"
    assert low < -900
    assert high > 200


@pytest.mark.parametrize("late", [False, True], ids=["at the start", "added later"])
def test_sampleDataGivesTheChestByButtonAndFromPython(
    late: bool, module: object, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user of Python asks for it; and where SampleData is loaded after this module, and before."""
    Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), f"SyntheticChestCT-{__version__}.nrrd").unlink(
        missing_ok=True)
    small = functools.partial(chest.synthetic_chest, shape=(2, 48, 48), spacing_mm=(30.0, 8.0, 8.0))
    monkeypatch.setattr(chest, "synthetic_chest", small)
    started: list[object] = []
    monkeypatch.setattr(slicer.app, "connect", lambda _signal, call: started.append(call), raising=False)
    parent = types.SimpleNamespace()
    if not late:
        module.DiffusionRecon(parent)
    made: list[str] = []
    monkeypatch.setattr(sample_data, "written", counted(sample_data.written, made))
    with extensions.installed(SampleData=extensions.sampleData()):
        if late:
            module.DiffusionRecon(parent)
        assert len(started) == (not late)
        for call in started:
            call()
        source, other = slicer.modules.sampleDataSources["DiffusionPriors"]
        assert other.sampleName == "SyntheticTorsoPET"
        assert all(isinstance(each, str) for each in (source.uris, source.fileNames, source.nodeNames))
        assert Path(source.options["thumbnailFileName"]).is_file()
        assert not made  # nothing is computed before it is asked for
        wanted = slicer.util.arrayFromVolume(module.DiffusionReconLogic().makeSyntheticChest())
        for node in (slicer.modules.sampledata.logic().downloadSample("SyntheticChestCT"), *source.press()):
            values = slicer.util.arrayFromVolume(node)
            assert node.GetName() == "SyntheticChestCT"
            assert np.array_equal(values, wanted)
            assert unitOfNode(node) == "HU"
        assert made == ["SyntheticChestCT"]  # the second time it is in the cache
    assert sample_data.addressOfFile("https://example.org/a.nrrd") == "https://example.org/a.nrrd"


def counted(original: object, made: list[str]) -> object:
    return lambda name: (made.append(name), original(name))[1]


def test_sampleDataGivesTheTorsoByButtonAndFromPython(
    module: object, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button brings the unit and the CT; from Python the values come, whose unit is then asked for."""
    Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), f"SyntheticTorsoPET-{__version__}.nrrd").unlink(
        missing_ok=True)
    small = torso.synthetic_torso((2, 48, 48), (30.0, 9.0, 9.0), unit="Bq/mL")
    monkeypatch.setattr(torso, "synthetic_torso", lambda *_shape, unit: small)
    with extensions.installed(SampleData=extensions.sampleData()):
        module.registerSampleData()
        source = slicer.modules.sampledata.logic().sourceForSampleName("SyntheticTorsoPET")
        pet, ct = source.press()
        (loaded,) = slicer.modules.sampledata.logic().downloadSamples("SyntheticTorsoPET")
    assert (pet.GetName(), unitOfNode(pet), unitOfNode(ct)) == ("SyntheticTorsoPET", "Bq/mL", "HU")
    for node in (pet, loaded):
        assert np.array_equal(slicer.util.arrayFromVolume(node), small.activity.array)
        assert recognised("", unitOfNode(node), node.GetName()) == "pet"


def test_withoutSampleDataNothingIsOffered(module: object, application: Application) -> None:
    module.registerSampleData()
    assert not hasattr(slicer.modules, "sampleDataSources")


def test_theModuleWaitsForThoseThatItUses(module: object) -> None:
    """Slicer loads these before it; all are in every Slicer."""
    parent = module.DiffusionRecon(types.SimpleNamespace()).parent
    library = ROOT / "DiffusionRecon" / "DiffusionReconLib"
    code = "\n".join(path.read_text(encoding="utf-8") for path in library.rglob("*.py"))
    used = set(re.findall(r"slicer\.modules\.(\w+)\.logic", code)) - {"sampledata"}
    assert used
    assert used <= {name.lower() for name in parent.dependencies}
    kinds = {"MarkupsROI": "Markups", "Segmentation": "Segmentations", "Sequence": "Sequences", "Table": "Tables",
             "Text": "Texts", "ScalarVolume": "Volumes", "SubjectHierarchy": "SubjectHierarchy"}
    named = {owner for kind, owner in kinds.items() if f"vtkMRML{kind}Node" in code}
    assert named <= set(parent.dependencies)


def test_wordsCanBeTranslated() -> None:
    """Slicer's tool finds texts that are written in the call; what is put into them comes afterwards."""
    library = ROOT / "DiffusionRecon" / "DiffusionReconLib"
    for path in (ROOT / "DiffusionRecon" / "DiffusionRecon.py", *library.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "_":
                kinds = [type(getattr(argument, "value", None)) for argument in call.args]
                assert kinds == [str], f"{path.name}:{call.lineno}"


def test_errorsForUsersCanBeTranslated() -> None:
    """A literal sentence of an error stands in `_()`; two files have errors that only developers and the log meet."""
    library = ROOT / "DiffusionRecon" / "DiffusionReconLib"
    developers = {library / "panel" / "acquisition.py", library / "scene" / "preview_file.py"}
    for path in set(library.rglob("*.py")) - developers:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("ValueError", "RuntimeError"):
                plain = [one for one in call.args if isinstance(one, (ast.Constant, ast.JoinedStr))]
                assert not plain, f"{path.name}:{call.lineno}"


def test_theJobsVolumeIsWrittenAsTheEngineWritesIt(application: Application, tmp_path: Path) -> None:
    """To the last bit of values and geometry, also of a turned grid, a few slices at a time."""
    from diffusion_engine.io.images import read_volume, write_volume
    from diffusion_engine.volume import Volume
    from DiffusionReconLib.jobs import job_input

    random = np.random.default_rng(3)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(random.normal(size=(3, 3)))[0] * (0.7, 0.9, 2.5)
    matrix[:3, 3] = (11.1, -7.3, 1303.7)
    volume = Volume(random.normal(0, 300, (7, 5, 6)).astype(np.float32)[::-1], matrix, "HU")
    write_volume(volume, tmp_path / "wanted.nrrd")
    steps = list(job_input.nrrdInSteps(tmp_path / "found.nrrd", volume))
    assert len(steps) == 1
    wanted, found = (read_volume(tmp_path / f"{name}.nrrd") for name in ("wanted", "found"))
    assert np.array_equal(found.array, wanted.array)
    assert np.array_equal(found.ijk_to_ras, wanted.ijk_to_ras)
    assert (found.unit, found.array.dtype) == (wanted.unit, wanted.array.dtype)
    large = Volume(np.zeros((9, 512, 512), np.float32), matrix, "HU")
    assert len(list(job_input.nrrdInSteps(tmp_path / "large.nrrd", large))) == 3
    with pytest.raises(ValueError, match=r"could not be written to .* free some disk space"):
        list(job_input.nrrdInSteps(tmp_path / "missing" / "a.nrrd", volume))
    with pytest.raises(ValueError, match="could not be copied into the job"):
        list(job_input.copyInSteps(tmp_path / "none", tmp_path / "copy"))


def test_panelUsesNothingHeavyAndNoThread() -> None:
    """The panel itself needs Slicer's Qt; here: its file imports at its top only what Slicer always has."""
    tree = ast.parse((ROOT / "DiffusionRecon" / "DiffusionRecon.py").read_text(encoding="utf-8"))
    names = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(statement.module.partition(".")[0])
    assert names <= {"__future__", "pathlib", "sys", "typing", "slicer", "vtk"}
    code = ast.unparse(tree)
    assert "processEvents" not in code
    assert "threading" not in code


def test_realWorkerReconstructsANode(module: object, application: Application) -> None:
    shape = (3, 96, 96)
    node = slicer.util.addVolumeFromArray(analyticThorax(shape), axialMatrix(shape, (5.0, 3.5, 3.5)), "Chest")
    settings = {"views": 20, "draws": 2, "methods": ["fbp", "tv", "diffusion"], "device": "cpu", "slices": [1, 2]}
    messages = []
    nodes = module.DiffusionReconLogic().reconstruct(node, settings, messages.append)
    fractions = [message["fraction"] for message in messages if message["event"] == "progress"]
    assert {"mean", "uncertainty", "fbp", "tv", "reference"} <= set(nodes)
    assert slicer.util.arrayFromVolume(nodes["mean"]).shape[0] == 1
    assert fractions == sorted(fractions)
    low, high = [0.0] * 6, [0.0] * 6
    nodes["mean"].GetRASBounds(low)
    node.GetRASBounds(high)
    # The second of three slices: in the middle of the node's extent along S.
    assert (low[4] + low[5]) / 2 == pytest.approx((high[4] + high[5]) / 2, abs=1e-6)
    assert not leftovers()

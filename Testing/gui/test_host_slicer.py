"""The stand-in does what Slicer itself does around a panel: views, packages, versions, launcher, samples, reloading."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import slicer
from host import dialogs, extensions, packages
from host.eventloop import lockHeld, turn, waitUntil
from host.guiapplication import GuiApplication, Panel
from host.launcher import launcherAsExecutable
from host.older import slicer510

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="made of a shell script, or of names of C++ on Linux")
TWO = ('<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="Own1"/></item>'
       '<item><view class="vtkMRMLSliceNode" singletontag="Own2"/></item></layout>')


def addSquare() -> Any:
    node = slicer.util.addVolumeFromArray(np.zeros((4, 16, 16), np.int16), name="square")
    node.CreateDefaultDisplayNodes()
    return node


def test_standInViewsGetTheirSizeWhenTheLoopTurns(application: GuiApplication) -> None:
    addSquare()
    manager = slicer.app.layoutManager()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.AddLayoutDescription(9000, TWO)
    layout.SetViewArrangement(9000)
    node = manager.sliceWidget("Own1").mrmlSliceNode()
    assert tuple(node.GetDimensions())[:2] == (256, 256)  # not the window's
    turn()
    assert tuple(node.GetDimensions())[:2] == (430, 760)


def test_standInListsEveryViewEverMade(application: GuiApplication) -> None:
    manager = slicer.app.layoutManager()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    layout.AddLayoutDescription(9000, TWO)
    manager.setLayout(9000)
    names = manager.sliceViewNames()
    assert names == ("Red", "Green", "Yellow", "Own1", "Own2")

    def present() -> list[str]:
        return [name for name in names if manager.sliceWidget(name).mrmlSliceNode().IsMappedInLayout()]

    assert present() == ["Own1", "Own2"]
    manager.setLayout(before)
    assert manager.sliceViewNames() == names
    assert present() == ["Red", "Green", "Yellow"]


@POSIX
def test_standInLoopThatHoldsTheLock() -> None:
    """While Qt waits a thread of Python stands still; it goes on at the loop's ticks."""
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            counted[0] += 1

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    waitUntil(lambda: counted[0] > 20, 10, "a thread beside the loop")
    with lockHeld():
        begun, steps = time.monotonic(), []

        def tick() -> bool:
            steps.append(counted[0])
            return len(steps) > 6

        waitUntil(tick, 10)
        lasted = time.monotonic() - begun
        waitUntil(lambda: counted[0] > steps[-1] + 2, 10, "the thread at the ticks")
    stop.set()
    thread.join()
    assert lasted > 0.1  # of which each thousandth would have been a step
    # A busy machine gives some ticks more than one step; a thread that ran freely would have made three times as many.
    assert steps[-1] - steps[0] < 1000 * lasted / 3


def test_standInTestingMakesInstallationsBlock(application: GuiApplication) -> None:
    """Under --testing nothing calls back."""
    packages.setInstaller(lambda _arguments: iter(["Collecting"]))
    codes: list[int] = []
    assert not slicer.app.testingEnabled()
    slicer.app.setTesting(True)
    assert slicer.app.testingEnabled()
    assert slicer.app.commandOptions().testingEnabled
    lines: list[str] = []
    slicer.packaging.pip_install("monai", blocking=False, logCallback=lines.append, completedCallback=codes.append)
    assert lines == ["Collecting"]
    turn()
    assert codes == []


def test_standInOlderSlicer(application: GuiApplication, tmp_path: Path) -> None:
    """5.10: no slicer.packaging, a pip_install without options, pydicom 2.4."""
    assert (slicer.app.majorVersion, slicer.app.minorVersion, slicer.app.applicationVersion) == (5, 12, "5.12.0")
    packages.setInstaller(lambda _arguments: iter(["Collecting"]))
    data = pydicom.dataset.FileDataset("", {}, file_meta=pydicom.dataset.FileMetaDataset(), preamble=b"\0" * 128)
    with slicer510():
        assert (slicer.app.majorVersion, slicer.app.minorVersion) == (5, 10)
        assert not hasattr(slicer, "packaging")
        with pytest.raises(ImportError):
            importlib.import_module("slicer.packaging")
        slicer.util.pip_install("monai")
        with pytest.raises(TypeError):
            slicer.util.pip_install("monai", blocking=False)
        with pytest.raises(TypeError, match="enforce_file_format"):
            data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        with pytest.raises(ValueError, match="is_implicit_VR"):
            data.save_as(tmp_path / "a.dcm", write_like_original=False)
        with pytest.raises(AttributeError, match="is_little_endian"):
            pydicom.Dataset().save_as(tmp_path / "a.dcm", write_like_original=False)
    assert slicer.packaging.pip_check("numpy")
    assert slicer.app.minorVersion == 12


@POSIX
def test_standInLauncherHidesASignal(tmp_path: Path) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", kill], check=False).returncode == -9
    before = sys.executable
    with launcherAsExecutable(tmp_path):
        assert subprocess.run([sys.executable, "-c", kill], check=False).returncode == 1
        assert subprocess.run([sys.executable, "-c", "raise SystemExit(7)"], check=False).returncode == 7
        assert subprocess.check_output([sys.executable, "-c", "print('a b')"]).split() == [b"a", b"b"]
    assert sys.executable == before


def test_standInTorchIsInstalledWithoutItsText(
    application: GuiApplication, recordedDialogs: dialogs.Recorder
) -> None:
    def broken(_arguments: list[str]) -> Iterator[str]:
        yield "Collecting torch"
        raise OSError("Network is unreachable")

    printed = io.StringIO()
    with extensions.installed(PyTorchUtils=extensions.pyTorchUtils(broken)):
        import PyTorchUtils

        with contextlib.redirect_stdout(printed), pytest.raises(subprocess.CalledProcessError) as caught:
            PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">=2.9")
        recordedDialogs.answer("Cancel")
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    assert printed.getvalue().split("\n")[:2] == ["Collecting torch", "Network is unreachable"]
    assert "unreachable" not in str(caught.value)
    assert (caught.value.output, caught.value.stderr) == (None, None)
    with pytest.raises(ImportError):
        import PyTorchUtils


def test_standInSampleIsMadeByItsButtonAlone(application: GuiApplication) -> None:
    made: list[str] = []
    with extensions.installed(SampleData=extensions.sampleData()):
        import SampleData

        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Own", sampleName="Made", uris="own:made", fileNames="a.nrrd", nodeNames="a",
            customDownloader=lambda source: made.append(source.sampleName),
        )
        logic = slicer.modules.sampledata.logic()
        with pytest.raises(ValueError, match="unknown url type"):
            logic.downloadSample("Made")
        assert made == []
        logic.sourceForSampleName("Made").press()
        assert made == ["Made"]


def test_standInSampleFromAFile(application: GuiApplication, tmp_path: Path) -> None:
    path = tmp_path / "Größe.nrrd"
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(addSquare())
    with extensions.installed(SampleData=extensions.sampleData()):
        extensions.SampleDataLogic.registerCustomSampleDataSource(
            sampleName="File", uris=path.as_uri(), fileNames="copy.nrrd", nodeNames="copied")
        node = slicer.modules.sampledata.logic().downloadSample("File")
    assert (node.GetName(), node.GetImageData().GetDimensions()) == ("copied", (16, 16, 4))


def test_standInReloadExecutesTheModuleFileAlone(
    application: GuiApplication, openPanel: Callable[..., Panel], tmp_path: Path
) -> None:
    """What the module's file imports stays as it was."""
    (tmp_path / "reloadedHelper.py").write_text("value = 1\n", encoding="utf-8")
    path = tmp_path / "Reloaded.py"
    path.write_text(
        "import reloadedHelper\n"
        "from slicer.ScriptedLoadableModule import *\n"
        "class Reloaded(ScriptedLoadableModule): pass\n"
        "class ReloadedWidget(ScriptedLoadableModuleWidget):\n"
        "    number, value = 1, reloadedHelper.value\n", encoding="utf-8")
    panel = openPanel(path)
    assert (panel.widget.number, panel.widget.value) == (1, 1)
    (tmp_path / "reloadedHelper.py").write_text("value = 20\n", encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace("= 1,", "= 20,"), encoding="utf-8")
    slicer.util.reloadScriptedModule("Reloaded")
    widget = slicer.modules.ReloadedWidget
    assert (widget.number, widget.value) == (20, 1)
    for name in ("Reloaded", "reloadedHelper"):
        sys.modules.pop(name)
    sys.path.remove(str(tmp_path))

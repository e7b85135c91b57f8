"""Train a prior by clicks on the stand-in, with the real engine in its own process; not run in the application."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from DiffusionReconLib.jobs import trained_priors, training_request
from DiffusionReconLib.jobs.training_job import Training, TrainingCancelled, stepsFor
from DiffusionReconLib.jobs.training_request import TrainingRequest, readLog, signs
from DiffusionReconLib.panel.part import setText
from DiffusionReconLib.panel.tones import BAD, toneColour
from host.eventloop import turn, waitUntil
from host.guiapplication import GuiApplication, Panel
from host.pythonqt import plainToolTip
from host.results import axialMatrix
from host.window import arrange
from prepared import OpenPanel
from scipy.ndimage import gaussian_filter

SECONDS = 300.0
TINY = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from diffusion_engine.priors.card import PriorCard, write_card
from diffusion_engine.priors.library import write_weights
from diffusion_engine.priors.networks import PatchUNet
torch.manual_seed(0)
folder = Path(sys.argv[1])
digest = write_weights(PatchUNet(channels=(4, 8), blocks=1), folder / "tiny.safetensors")
card = PriorCard(
    name="tiny", title="Tiny", modality="ct", anatomy="none", unit="HU", offset=0.0, scale=1000.0, sigma_data=0.5,
    sigma=(0.005, 5.0), pixel_mm=(2.0, 2.0), weights="tiny.safetensors", sha256=digest, date="2025-01-01",
    network={"type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": [4, 8], "blocks": 1}, licence="none",
    training={}, data=[], held_out=[], denoising_psnr_db={}, not_for=[],
)
write_card(card, folder / "tiny.json")
told = {**card.network, "inputs": 5, "conditions": 2}
masks = {"kind": "mask", "classes": ["air", "rest"], "ablation": 0.3, "dropped": 0.1}
write_card(replace(card, name="masks", title="Masks", network=told, condition=masks), folder / "masks.json")
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a prior with a network of a few hundred weights, made outside this process: torch stays out."""
    folder = tmp_path_factory.mktemp("tiny prior")
    subprocess.run([sys.executable, "-c", TINY, str(folder)], check=True, env=_environment())
    return folder / "tiny.json"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth volumes in HU, one in a folder of its own."""
    from diffusion_engine.io.images import write_volume
    from diffusion_engine.volume import Volume

    folder = tmp_path_factory.mktemp("Bände mit Leerzeichen")
    random = np.random.default_rng(0)
    for name in ("a", "b", "held"):
        smooth = gaussian_filter(random.normal(size=(4, 64, 64)), (0.5, 4, 4))
        array = np.where(smooth < 0, -1000, 40) + 4000 * smooth
        (folder / name).mkdir()
        write_volume(Volume(np.clip(array, -1000, 900).astype(np.float32), axialMatrix((4, 64, 64), (4.0, 2.0, 2.0)),
                            "HU"), folder / name / "ct.nrrd")
    return folder


@pytest.fixture
def trainer(openPanel: OpenPanel, tiny: Path, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """The panel with the section filled in by hand, on one core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trained_priors.rememberFolder(tiny.parent)
    panel = openPanel()
    ui = panel.widget.ui
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findText("CPU")
    ui.trainDataPathEdit.currentPath = str(volumes)
    ui.trainHeldOutEdit.text = "held"
    ui.trainOriginComboBox.currentIndex = ui.trainOriginComboBox.findText("Tiny")
    ui.trainAugmentCheckBox.checked = True
    ui.trainStepsSpinBox.value = 200
    return panel


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def _idle(panel: Panel) -> None:
    waitUntil(lambda: not panel.widget.panel.train.busy, SECONDS, "the end of the training")


def _titles(combo: Any) -> list[str]:
    return [combo.itemText(index) for index in range(combo.count)]


@pytest.mark.slow
def test_standInTrainCancelContinueAndChooseThePrior(trainer: Panel) -> None:
    ui = trainer.widget.ui
    out = Path(ui.trainFolderPathEdit.currentPath)
    assert out == trained_priors.defaultFolder()
    ui.trainNameEdit.text = "lab-prior"
    ui.trainStepsSpinBox.value = 400
    assert ui.trainStartButton.enabled
    assert not ui.trainContinueButton.enabled
    assert ui.trainSizeComboBox.currentText == "As that model's"
    ui.trainStartButton.click()
    assert ui.trainStartButton.text == "Cancel"
    log = out / "lab-prior.log"
    # The checkpoint of step 200 is written before its line.
    waitUntil(lambda: any(entry["step"] >= 200 for entry in readLog(log)), SECONDS, "step 200")
    assert "Step" in ui.trainStatusLabel.text
    waitUntil(lambda: not ui.trainCurvesLabel.pixmap.isNull(), what="live curves")
    ui.trainStartButton.click()
    assert not ui.trainStartButton.enabled
    _idle(trainer)
    assert "can be continued" in ui.trainStatusLabel.text
    assert not (out / "lab-prior.json").exists()
    assert ui.trainStartButton.text == "Start"
    assert "Start goes on from it" in ui.trainHintLabel.text
    # Other settings are no continuation; Continue brings the right ones back.
    ui.trainStepsSpinBox.value = 500
    assert not ui.trainStartButton.enabled
    assert "begun with other settings (steps 400)" in ui.trainHintLabel.text
    assert "Tiny" in _titles(ui.priorComboBox)
    assert "Masks" not in _titles(ui.priorComboBox), "it makes images of masks, not of measured data"
    assert "lab-prior" not in _titles(ui.priorComboBox)
    ui.trainContinueButton.click()
    assert ui.trainStepsSpinBox.value == 400
    _idle(trainer)
    assert "'lab-prior' can be chosen as the trained model of CT now" in ui.trainStatusLabel.text
    steps = [entry["step"] for entry in readLog(log) if "loss" in entry]
    assert steps == [100, 200, 300, 400]
    assert json.loads((out / "lab-prior.json").read_text(encoding="utf-8"))["training"]["augment"] is True
    assert any("copies" in entry for entry in readLog(log))
    assert (out / "lab-prior.png").is_file()
    assert "Draws are" in ui.trainWarningLabel.text
    # The prior is in the selector, and its card is read.
    assert "lab-prior" in _titles(ui.priorComboBox)
    ui.priorComboBox.currentIndex = ui.priorComboBox.findText("lab-prior")
    assert trainer.widget.logic.getParameterNode().prior == str(out / "lab-prior.json")
    assert "as in the training volumes" in ui.priorCardLabel.text
    assert "already: choose another name" in ui.trainStartButton.toolTip
    assert not list(Path(slicer.app.temporaryPath).glob("DiffusionRecon-*"))


def test_standInAWishInMinutesBecomesSteps(trainer: Panel) -> None:
    ui = trainer.widget.ui
    ui.trainNameEdit.text = "timed"
    ui.trainMinutesSpinBox.value = 600
    ui.trainForecastButton.click()
    _idle(trainer)
    assert ui.trainMinutesSpinBox.value == 0
    assert ui.trainStepsSpinBox.value > 10_000
    assert f"for {ui.trainStepsSpinBox.value} steps" in ui.trainForecastLabel.text
    assert "About 10.0 h" in ui.trainForecastLabel.text
    assert not Path(ui.trainFolderPathEdit.currentPath).exists()  # a forecast writes nothing
    assert stepsFor(10, 0.25) == 2400
    assert stepsFor(0.01, 1.0) == 100


@pytest.mark.parametrize(("change", "words"), [
    (lambda ui, _folder: setattr(ui.trainDataPathEdit, "currentPath", ""), "Choose a folder of volumes"),
    (lambda ui, folder: setattr(ui.trainDataPathEdit, "currentPath", str(folder / "no")), "is no folder"),
    (lambda ui, _folder: setattr(ui.trainNameEdit, "text", "../other"), "letters, digits"),
    (lambda ui, _folder: setattr(ui.trainNameEdit, "text", "ct-body"), "'ct-body' already: choose another name"),
    (lambda ui, _folder: setattr(ui.trainFolderPathEdit, "currentPath", ""), "Choose a folder to keep"),
])
def test_standInWhatCannotBeStartedSaysWhy(
    change: Callable[[Any, Path], None], words: str, trainer: Panel, tmp_path: Path
) -> None:
    ui = trainer.widget.ui
    assert ui.trainStartButton.enabled
    change(ui, tmp_path)
    assert not ui.trainStartButton.enabled
    assert words in ui.trainStartButton.toolTip
    assert ui.trainHintLabel.text == plainToolTip(ui.trainStartButton)


def test_standInTheEnginesRefusalIsOneSentence(trainer: Panel) -> None:
    """CT posing as PET, and a case that is not there."""
    ui = trainer.widget.ui
    ui.trainUnitComboBox.currentIndex = ui.trainUnitComboBox.findText("SUV (PET)")
    assert ui.trainOriginComboBox.currentText == "Tiny (CT)"  # a network learns another unit from there
    ui.trainOriginComboBox.currentIndex = 0
    assert ui.trainSizeComboBox.currentText == "Small (2.7 million weights)"
    ui.trainHeldOutEdit.text = ""
    ui.trainStartButton.click()
    _idle(trainer)
    assert ui.trainStatusLabel.text.startswith("no PET volume in SUV below")
    assert toneColour(ui.trainStatusLabel, BAD) in ui.trainStatusLabel.styleSheet
    ui.trainUnitComboBox.currentIndex = ui.trainUnitComboBox.findText("HU (CT)")
    ui.trainHeldOutEdit.text = "nobody"
    ui.trainForecastButton.click()
    _idle(trainer)
    assert "no folder named nobody" in ui.trainStatusLabel.text
    assert not ui.trainForecastLabel.text


def test_theConsolesCallTrainsAndIsCancelled(trainer: Panel, tiny: Path, volumes: Path, tmp_path: Path) -> None:
    logic, out = trainer.widget.logic, tmp_path / "mine"
    settings = {"startFrom": str(tiny), "device": "cpu", "steps": 12, "processes": 2}
    seen: list[dict] = []
    card = logic.trainPrior(volumes, "short", out, seen.append, **settings)
    assert card == (out / "short.json").resolve()
    training = json.loads(card.read_text(encoding="utf-8"))["training"]
    assert (training["steps"], training["processes"]) == (12, 2)
    assert seen[-1]["event"] == "done"
    assert [each["step"] for each in seen if each["event"] == "progress"][-1] == 12
    assert out.resolve() in [folder.resolve() for folder in trained_priors.priorFolders()]
    with pytest.raises(TrainingCancelled, match="begin again"):
        logic.trainPrior(volumes, "long", out, lambda _message: False, **{**settings, "steps": 100_000})
    assert not (out / "long.checkpoint").exists()
    for wrong, words in (({"sice": 1}, "no setting 'sice'"), ({"unit": "kg"}, "no unit 'kg'"),
                         ({"size": "huge"}, "no network size"), ({"steps": 0}, "1 step or more"),
                         ({"heldOut": ["a,b"]}, "comma")):
        with pytest.raises(ValueError, match=words):
            logic.trainPrior(volumes, "wrong", out, **wrong)
    with pytest.raises(ValueError, match="already"):
        logic.trainPrior(volumes, "short", out)


class Silent:
    """A process that says these messages, then breaks."""

    def __init__(self, *messages: dict) -> None:
        self.messages, self.cancelled = list(messages), False

    def poll(self) -> list[dict]:
        if not self.messages and not self.cancelled:
            raise KeyError("no such entry")
        return [self.messages.pop(0)] if self.messages else []

    def running(self) -> bool:
        return not self.cancelled and not self.messages

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("where", ["poll", "follow"])
def test_standInAMistakeOfTheProgramEndsTheTrainingWithASentence(
    where: str, trainer: Panel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the training that follows its forecast cannot start."""
    ui, part = trainer.widget.ui, trainer.widget.panel.train
    starts: list[Silent] = []

    def start(_folder: Path, arguments: list[str]) -> Silent:
        if starts:
            raise ValueError("expected to start PythonSlicer, but it failed (No such file): check its path")
        foreseen = {"event": "done", "result": {"seconds": 10.0, "memory_mb": 900.0}}
        starts.append(Silent(foreseen) if where == "follow" else Silent())
        starts[0].cancelled = where == "follow"  # the forecast's own process leaves after its word
        return starts[0]

    monkeypatch.setattr(
        trainer.widget.logic, "startTraining", lambda request, only: Training(request, only, start), raising=False)
    ui.trainMinutesSpinBox.value = 10 if where == "follow" else 0
    ui.trainStartButton.click()
    waitUntil(lambda: not part.busy, 10.0, "the end of the training")
    said = ui.trainStatusLabel.text
    if where == "poll":
        assert "mistake of its own (KeyError: 'no such entry')" in said
        assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)
    else:
        assert said == "expected to start PythonSlicer, but it failed (No such file): check its path"
    assert ui.trainStartButton.text == "Start"
    assert not list(Path(slicer.app.temporaryPath).glob("DiffusionRecon-Training-*"))


def test_standInTrainingIsTheLastSection(trainer: Panel) -> None:
    ui = trainer.widget.ui
    layout = ui.advancedCollapsibleButton.parentWidget().layout()
    sections = [layout.itemAt(index).widget() for index in range(layout.count())]
    names = [section.objectName for section in sections if section is not None]
    assert names[-1] == "trainCollapsibleButton"
    assert ui.trainCollapsibleButton.text == "Train a model"


def test_standInALongSentenceIsNotSqueezed(application: GuiApplication, trainer: Panel) -> None:
    """Also where the progress bar takes a row of its own."""
    arrange(application, trainer)
    ui = trainer.widget.ui
    ui.trainCollapsibleButton.collapsed = False
    turn(5)
    ui.trainProgressBar.setVisible(True)
    labels = [ui.trainStatusLabel, ui.trainHintLabel, ui.trainWarningLabel]
    for label in labels:
        setText(label, "A sentence about a training that is longer than the panel is wide. " * 3)
    turn(5)
    for label in labels:
        assert label.height >= label.heightForWidth(label.width) > 2 * label.fontMetrics().height()
    setText(labels[0], "")
    assert labels[0].minimumHeight == 0


def test_aFolderThatNobodyMayLookIntoIsASentence(tmp_path: Path) -> None:
    """As is one whose name is longer than a system allows."""
    request = TrainingRequest(str(tmp_path), str(tmp_path / "out"), "x" * 300)
    assert request.begun() is None
    with pytest.raises(ValueError, match="at most 100 letters"):
        request.check()
    with pytest.raises(ValueError, match="is no folder"):
        TrainingRequest(str(tmp_path / ("y" * 300)), "out").checkData()


def test_standInClosingThePanelEndsTheTraining(trainer: Panel) -> None:
    ui = trainer.widget.ui
    ui.trainNameEdit.text = "left"
    ui.trainStepsSpinBox.value = 100_000
    ui.trainStartButton.click()
    training: Training = trainer.widget.panel.train._training
    waitUntil(lambda: "Step" in ui.trainStatusLabel.text, SECONDS, "the first step")
    trainer.close()
    assert training.gone()
    assert not training.folder.exists()


def test_thePanelsProcessNeverImportsTorch(tmp_path: Path) -> None:
    """Everything that the section does in Slicer's process, in a process whose torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path\n"
        "import DiffusionReconLib.jobs.training_job, DiffusionReconLib.jobs.trained_priors\n"
        "import DiffusionReconLib.panel.curves\n"
        "from host.guiapplication import makeGuiApplication\n"
        "from host.eventloop import runInLoop\n"
        "application = makeGuiApplication(sys.argv[1])\n"
        "def body():\n"
        "    ui = application.openPanel(Path(sys.argv[2])).widget.ui\n"
        "    ui.trainDataPathEdit.currentPath = sys.argv[1]\n"
        "    assert ui.trainStartButton.enabled, ui.trainStartButton.toolTip\n"
        "runInLoop(body)\n"
        "print('opened', flush=True)\n"
        "import os; os._exit(0)\n"
    )
    code = "from host.guiapplication import install; install()\n" + code
    module = Path(training_request.__file__).parents[2] / "DiffusionRecon.py"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(module)], env=_environment(), capture_output=True, text=True,
        check=False,
    )
    assert "opened" in done.stdout, done.stderr


def test_whatTheEngineWouldRefuseIsRefusedBeforeATrainingStarts(tmp_path: Path) -> None:
    data, out = str(tmp_path), str(tmp_path / "out")
    asked = TrainingRequest(data, out, unit="line integral", startFrom="ct-body", heldOut=("x",))
    asked.check()
    assert (asked.asked().origin, asked.asked().size, asked.asked().exclude) == ("ct-body", None, ("x",))
    with pytest.raises(ValueError, match="variants of sinograms"):
        replace(asked, augment=True).check()


def test_requestAndLogSurviveDamage(tmp_path: Path) -> None:
    request = TrainingRequest("data", str(tmp_path), "a", heldOut=("x",))
    assert request.begun() is None
    request.write()
    request.file("checkpoint").touch()
    assert request.begun() == request
    assert request.different(TrainingRequest("data", str(tmp_path), "a", heldOut=("y",), device="cuda")) == [
        "heldOut ('y',)"]
    request.file("training").write_text("{")
    assert request.begun() is None
    log = tmp_path / "a.log"
    log.write_text('{"step": 100, "loss": 1.0, "psnr_db": {}, "warning": "w"}\n{"step": 2', encoding="utf-8")
    assert [entry["step"] for entry in readLog(log)] == [100]
    assert signs(readLog(log)) == ("w", True)
    assert signs([*readLog(log), {"step": 200, "loss": 1.0, "psnr_db": {}}]) == ("", False)
    assert readLog(tmp_path / "none.log") == []

"""An engine of one's own for panels on the stand-in: plays messages over a result that is whole already."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from host.eventloop import waitUntil
from host.guiapplication import Panel
from host.results import analyticThorax, axialMatrix
from mrml.full_results import writeFullResult

SHAPE = (6, 32, 32)
STEPS = tuple(
    {"event": "progress", "stage": stage, "step": 1, "total": 2, "fraction": fraction, "seconds_left": 3.0,
     "preview": preview}
    for stage, fraction, preview in (("prepare", 0.0, None), ("tv", 0.3, "preview.nrrd"), ("draw 1 of 2", 0.7, None))
)
DONE = {"event": "done", "result": "result.json"}


class PreparedEngine:
    """Gives a message at each poll; holds at `hold` (an index) until it is released or cancelled."""

    def __init__(self, folder: Path, messages: list[dict], hold: int | None) -> None:
        self.folder, self._messages, self.hold, self.cancelled, self._given = folder, messages, hold, False, 0
        self.job = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def running(self) -> bool:
        return bool(self._messages) and not self.cancelled

    def poll(self) -> list[dict]:
        if self.cancelled:
            self._messages = []
            return [{"event": "cancelled"}]
        if not self._messages or self._given == self.hold:
            return []
        self._given += 1
        message = self._messages.pop(0)
        if message.get("preview"):
            shutil.copyfile(self.folder / "tv.nrrd", self.folder / "preview.nrrd")
        return [message]

    def cancel(self) -> None:
        self.cancelled = True


class Runner:
    """Starts prepared engines and remembers them; `last` replaces their last message."""

    def __init__(self, template: Path, hold: int | None = None, last: dict = DONE) -> None:
        self.template, self.hold, self.last = template, hold, last
        self.engines: list[PreparedEngine] = []

    def __call__(self, folder: Path) -> PreparedEngine:
        for path in self.template.iterdir():
            if path.name != "job.json":
                shutil.copyfile(path, folder / path.name)
        self.engines.append(PreparedEngine(folder, [dict(m) for m in (*STEPS, self.last)], self.hold))
        return self.engines[-1]


def makeRunner(folder: Path, hold: int | None = None, **report: Any) -> Runner:
    """A runner whose result has everything that a result can have."""
    return Runner(writeFullResult(folder / "template", SHAPE, **report), hold)


def useRunner(panel: Panel, runner: Any) -> None:
    """Let a panel run this in place of the engine, with nothing to set up."""
    panel.widget.logic._runner = runner
    panel.widget.panel.run.setup = None


def addChest(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = (5.0, 3.5, 3.5)) -> Any:
    """A CT volume in the scene."""
    return slicer.util.addVolumeFromArray(analyticThorax(shape).astype(np.int16), axialMatrix(shape, spacing), "Chest")


def writeSinogram(folder: Path, slices: int = 3) -> Path:
    """A measured sinogram of a water disc of 40 mm radius, with noise, and its geometry beside it."""
    from diffusion_engine.modalities.ct.measurement import Measurement, write_measurement
    from diffusion_engine.physics.ct_geometry import CTGeometry
    from diffusion_engine.volume import WATER_PER_MM

    bins, views, spacing = 32, 12, 3.5
    place = (np.arange(bins) - (bins - 1) / 2) * spacing
    profile = 2 * WATER_PER_MM * np.sqrt(np.maximum(40.0**2 - place**2, 0))
    noise = np.random.default_rng(0).normal(0, 0.005, (slices, views, bins))
    rays = CTGeometry("parallel", tuple(np.arange(views) * np.pi / views), bins, spacing)
    path = folder / "disc.nrrd"
    write_measurement(Measurement((profile + noise).astype(np.float32), rays, 3.0), path, folder / "disc.json")
    return path


def idle(panel: Panel, seconds: float = 60.0) -> None:
    """Wait until the panel has nothing to do any more."""
    waitUntil(lambda: not panel.widget.panel.run.busy, seconds, "the end of the run")


def withResult(panel: Panel, folder: Path) -> Panel:
    """A panel that has run once on a chest and shows its result."""
    useRunner(panel, makeRunner(folder))
    addChest()
    panel.widget.ui.applyButton.click()
    idle(panel)
    return panel


def nodeIDs() -> list[str]:
    """The scene's nodes, without those that selecting a view or a preview adds for good."""
    nodes = slicer.mrmlScene.GetNodes()
    return [nodes.GetItemAsObject(index).GetID() for index in range(nodes.GetNumberOfItems())]


def leftovers() -> list[Path]:
    """Job folders that are still there."""
    return list(Path(slicer.app.temporaryPath).glob("DiffusionRecon-*"))


OpenPanel = Callable[..., Panel]
__all__ = [
    "DONE", "SHAPE", "STEPS", "OpenPanel", "PreparedEngine", "Runner", "addChest", "idle", "leftovers", "makeRunner",
    "nodeIDs", "useRunner", "withResult", "writeSinogram",
]

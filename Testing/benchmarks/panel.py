"""How responsive the panel is on the stand-in with the real engine: `python3 Testing/benchmarks/panel.py --json FILE`.

Rows (name, seconds): opening the panel; the longest stall of the main thread from Apply to the result; the longest
cancel of three stages; a preview's way from the engine's message to its node; the longest rendering; publishing.
Rendering and publishing are no part of the stall. Opening and stall are also given as the main thread's own processor
time ("work"), which other programs on a busy computer do not lengthen. Rows that end in "_lock_held" are those of a
loop that keeps the interpreter's lock while it waits, as Slicer's does. The widgets are the stand-in's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "DiffusionRecon"), str(ROOT / "Testing"), str(ROOT / "Testing" / "gui")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

SECONDS = 110.0
"""Until the benchmark gives up, for each kind of loop."""
HELD_MICROSECONDS = 10_000
"""Between two turns of the loop that keeps the lock: threads of Python have a chance at these turns alone."""
SHAPE, SPACING_MM = (48, 512, 512), (5.0, 0.7, 0.7)


class Heartbeat:
    """The longest time, and processor time of this thread, between two turns of the event loop, while it is on."""

    def __init__(self) -> None:
        self.stall = self.work = 0.0
        self.on = False
        self._last = (0.0, 0.0)

    def beat(self) -> None:
        """Call at each turn, and before what is left out."""
        now = (time.perf_counter(), time.thread_time())
        if self.on:
            self.stall = max(self.stall, now[0] - self._last[0])
            self.work = max(self.work, now[1] - self._last[1])
        self._last = now

    def start(self) -> None:
        """Measure from now on."""
        self.skip()
        self.on = True

    def skip(self) -> None:
        """Leave out what was done since the last beat."""
        self._last = (time.perf_counter(), time.thread_time())


def measure(application: Any) -> list[dict[str, Any]]:
    """All rows."""
    from host.eventloop import lockHeld, turn
    from host.viewwidgets import ViewWidget
    from host.window import arrange
    from prepared import addChest

    began = (time.perf_counter(), time.thread_time())
    panel = application.openPanel(ROOT / "DiffusionRecon" / "DiffusionRecon.py")
    rows = {"panel_open": time.perf_counter() - began[0], "panel_open_work": time.thread_time() - began[1]}
    heart = Heartbeat()
    arrange(application, panel)
    addChest(SHAPE, SPACING_MM)
    rendering: list[float] = []
    publishing: list[float] = []
    _leaveOut(ViewWidget, "forceRender", rendering, heart)
    _leaveOut(panel.widget.logic, "publish", publishing, heart)
    turn(20)  # what the volume's arrival left for the loop is no part of a run
    rows.update(_runs(panel, heart, ""))
    if os.name == "posix":
        with lockHeld():
            rows.update(_runs(panel, heart, "_lock_held"))
    rows.update(render_max=max(rendering), publish_seconds=max(publishing))
    return [{"name": name, "seconds": round(seconds, 4)} for name, seconds in rows.items()]


def _runs(panel: Any, heart: Heartbeat, ending: str) -> dict[str, float]:
    """The rows of one kind of loop: three runs that are cancelled, and one to its end."""
    ui, part = panel.widget.ui, panel.widget.panel.run
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Classical")
    end = time.monotonic() + SECONDS
    heart.stall = heart.work = 0.0

    def until(condition: Any) -> None:
        while not condition() and time.monotonic() < end:
            _turn(heart, bool(ending))
        if not condition():
            raise RuntimeError(f"the panel did not get on within {SECONDS:g} s: {ui.statusLabel.text}")

    def quiet() -> None:
        until(lambda: not part.busy)
        heart.on = False

    def cancelled(reached: Any) -> float:
        heart.start()
        ui.applyButton.click()
        until(lambda: part.runs.running is None or reached(part.runs.running))
        if part.runs.running is None:
            raise RuntimeError(f"there was nothing to cancel: {ui.statusLabel.text}")
        asked = time.perf_counter()
        ui.applyButton.click()
        quiet()
        return time.perf_counter() - asked

    # The whole volume is copied and written; what is measured of the engine's stage is its end, of one slice.
    ui.extentComboBox.currentIndex = ui.extentComboBox.findText("All")
    cancels = [cancelled(lambda running: not running.started), cancelled(lambda running: running.started)]
    ui.extentComboBox.currentIndex = ui.extentComboBox.findText("From the middle")
    ui.sliceCountSpinBox.value = 1
    cancels.append(cancelled(lambda running: running.started and ui.progressBar.value > 0))
    previews: list[float] = []
    asked_at: list[float] = []
    heart.start()
    ui.applyButton.click()
    seen = None
    while part.runs.running is not None:
        preview = part._preview
        if preview is not None and preview is not seen:
            seen = preview
            _watch(preview, asked_at, previews)
        until(lambda kept=seen: part.runs.running is None or part._preview is not kept)
    quiet()
    if ui.statusLabel.text != "Done.":
        raise RuntimeError(ui.statusLabel.text)
    rows = {"main_thread_stall_max": heart.stall, "main_thread_work_max": heart.work,
            "cancel_latency_max": max(cancels), "preview_latency": max(previews)}
    return {name + ending: seconds for name, seconds in rows.items()}


def _turn(heart: Heartbeat, held: bool) -> None:
    """One turn of the loop, and a pause until the next one, in which the interpreter's lock is free or held."""
    from host.eventloop import turn
    from PySide6 import QtCore, QtWidgets

    if held:
        turn(1)
        heart.beat()
        ctypes.PyDLL(None).usleep(HELD_MICROSECONDS)
        heart.skip()
    else:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.AllEvents, 10)
        heart.beat()
        time.sleep(0.001)


def _leaveOut(owner: Any, name: str, into: list[float], heart: Heartbeat) -> None:
    """Measure each call of a method, which the heartbeat leaves out."""
    original = getattr(owner, name)

    def timed(*arguments: Any) -> Any:
        heart.beat()
        began = time.perf_counter()
        try:
            return original(*arguments)
        finally:
            into.append(time.perf_counter() - began)
            heart.skip()

    setattr(owner, name, timed)


def _watch(preview: Any, asked: list[float], into: list[float]) -> None:
    """Measure from the request for a preview to its node."""
    load, poll = preview.load, preview.poll

    def loaded(name: str) -> None:
        asked[:] = [time.perf_counter()]
        load(name)

    def polled() -> bool:
        shown = poll()
        if shown and asked:
            into.append(time.perf_counter() - asked.pop())
        return shown

    preview.load, preview.poll = loaded, polled


def main(arguments: list[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    from host.eventloop import runInLoop
    from host.guiapplication import makeGuiApplication

    with tempfile.TemporaryDirectory(prefix="panel-benchmark-") as folder:
        application = makeGuiApplication(folder)
        try:
            rows = runInLoop(lambda: measure(application))
        finally:
            application.close()
    for row in rows:
        print(f"{row['name']:24s} {row['seconds']:8.3f} s")
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How responsive the panel is on the stand-in with the real engine: `python3 Testing/benchmarks/panel.py --json FILE`.

Rows (name, seconds): opening the panel; the longest stall of the main thread from Apply to the result, rendering and
publishing left out, also as its own processor time (what a busy computer does not lengthen); the longest cancel of
three stages; a preview's way from the engine's message to its node; publishing. The widgets are the stand-in's.
"""

from __future__ import annotations

import argparse
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

SECONDS = 500.0


class Heartbeat:
    """The longest time, and processor time of this thread, between two turns of the event loop, while it is on."""

    def __init__(self) -> None:
        self.stall = self.work = 0.0
        self.on = False
        self._last = (0.0, 0.0)

    def beat(self) -> None:
        """Call at each turn."""
        now = (time.perf_counter(), time.thread_time())
        if self.on:
            self.stall = max(self.stall, now[0] - self._last[0])
            self.work = max(self.work, now[1] - self._last[1])
        self._last = now

    def start(self) -> None:
        """Measure from now on."""
        self._last = (time.perf_counter(), time.thread_time())
        self.on = True


def measure(application: Any) -> list[dict[str, Any]]:
    """All rows."""
    from host.eventloop import turn
    from prepared import addChest
    from PySide6 import QtCore, QtWidgets

    began = time.perf_counter()
    panel = application.openPanel(ROOT / "DiffusionRecon" / "DiffusionRecon.py")
    opened = time.perf_counter() - began
    ui, part, heart = panel.widget.ui, panel.widget.panel.run, Heartbeat()
    addChest((48, 512, 512), (5.0, 0.7, 0.7))
    ui.extentComboBox.currentIndex = ui.extentComboBox.findText("All")
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Classical")
    turn()

    def until(condition: Any) -> None:
        end = time.monotonic() + SECONDS
        while not condition() and time.monotonic() < end:
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.AllEvents, 10)
            heart.beat()
            time.sleep(0.001)
        if not condition():
            raise RuntimeError(f"the panel did not get on within {SECONDS:g} s: {ui.statusLabel.text}")

    cancels = []
    stages = {
        "copying": lambda running: running._steps is not None,
        "writing": lambda running: running._thread is not None,
        "engine": lambda running: running.started and ui.progressBar.value > 0,
    }
    for reached in stages.values():
        heart.start()
        ui.applyButton.click()
        until(lambda reached=reached: part.runs.running is None or reached(part.runs.running))
        asked = time.perf_counter()
        ui.applyButton.click()
        until(lambda: not part.busy)
        heart.on = False
        cancels.append(time.perf_counter() - asked)
    # A whole run, classical and of one slice: what is measured of it is the panel, not the engine.
    previews: list[float] = []
    publishing: list[float] = []
    _time(panel.widget.logic, "publish", publishing, heart)
    asked_at: list[float] = []
    ui.extentComboBox.currentIndex = ui.extentComboBox.findText("From the middle")
    ui.sliceCountSpinBox.value = 1
    heart.start()
    ui.applyButton.click()
    seen = None
    while part.busy:
        preview = part._preview
        if preview is not None and preview is not seen:
            seen = preview
            _watch(preview, asked_at, previews)
        until(lambda kept=seen: not part.busy or part._preview is not kept)
    heart.on = False
    if ui.statusLabel.text != "Done.":
        raise RuntimeError(ui.statusLabel.text)
    rows = {
        "panel_open": opened, "main_thread_stall_max": heart.stall, "main_thread_work_max": heart.work,
        "cancel_latency_max": max(cancels), "preview_latency": max(previews), "publish_seconds": publishing[0],
    }
    return [{"name": name, "seconds": round(seconds, 4)} for name, seconds in rows.items()]


def _time(owner: Any, name: str, into: list[float], heart: Heartbeat) -> None:
    """Measure each call of a method, which the heartbeat leaves out."""
    original = getattr(owner, name)

    def timed(*arguments: Any) -> Any:
        heart.on = False
        began = time.perf_counter()
        result = original(*arguments)
        into.append(time.perf_counter() - began)
        return result

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

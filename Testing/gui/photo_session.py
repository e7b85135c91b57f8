"""A session with photographs in a copy of the module: `python3 photo_session.py COPY JOB`.

Chooses the modality in the panel, runs the real engine by Apply, reviews the result, publishes that of the finished job
folder JOB; the last line is what was found, as JSON. The widgets are the stand-in's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from host.eventloop import runInLoop
from host.guiapplication import makeGuiApplication

MATRIX = np.diag([2.0, 0.5, 3.0, 1.0])


def session(application: Any, module: Path, job: Path) -> dict[str, Any]:
    """What a user does, and what is then in the scene and on the panel."""
    import slicer.util
    from DiffusionReconLib.scene import results
    from DiffusionReconLib.scene.publish import publishResult
    from prepared import idle

    panel = application.openPanel(module / "DiffusionRecon.py")
    ui = panel.widget.ui
    y, x = np.mgrid[:32, :40]
    disc = ((y - 16) ** 2 + (x - 20) ** 2 < 80).astype(np.float32)[None]
    slicer.util.addVolumeFromArray(np.concatenate([disc, 0.5 * disc]), MATRIX, "Disc")
    offered = [ui.modalityComboBox.itemText(index) for index in range(ui.modalityComboBox.count)]
    ui.modalityComboBox.currentIndex = ui.modalityComboBox.findText("Photograph")
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findText("CPU")
    ui.blurSpinBox.value = 3.0
    found = {
        "modalities": offered, "presets": [ui.presetComboBox.itemText(i) for i in range(ui.presetComboBox.count)],
        "purpose": ui.purposeLabel.text, "enabled": ui.applyButton.enabled, "estimate": ui.estimateLabel.text,
    }
    ui.applyButton.click()
    idle(panel)
    (shown,) = results.resultReports()
    nodes = results.resultNodes(shown)
    report = results.resultReport(nodes)
    found |= {
        "status": ui.statusLabel.text, "result": ui.resultComboBox.currentText, "banner": ui.bannerLabel.text,
        "reviewed": not ui.reviewCollapsibleButton.collapsed, "blur": report["settings"]["blur_pixels"],
        "modality": report["modality"], "preset": report["settings"]["preset"], "nodes": sorted(nodes),
        "size": list(slicer.util.arrayFromVolume(nodes["mean"]).shape),
        "centre": float(slicer.util.arrayFromVolume(nodes["mean"])[0, 16, 20]),
        "corner": float(slicer.util.arrayFromVolume(nodes["mean"])[0, 0, 0]),
    }
    ui.uncertaintyButton.click()
    ui.findButton.click()
    found["looked"] = [ui.verdictLabel.text, ui.findingsLabel.text, ui.exportCsvButton.enabled]
    published = publishResult(job)
    found["published"] = [sorted(published), len(results.resultReports())]
    return found


def main(module: Path, job: Path) -> None:
    """Run the session and print what it found."""
    with tempfile.TemporaryDirectory(prefix="photographs-", ignore_cleanup_errors=True) as temporary:
        application = makeGuiApplication(temporary)
        try:
            print(json.dumps(runInLoop(lambda: session(application, module, job))), flush=True)
        finally:
            application.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(0)  # Qt and VTK together may fault while the interpreter ends

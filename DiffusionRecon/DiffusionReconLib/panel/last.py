"""A section of a file of its own, below all others of the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer.util

from DiffusionReconLib.panel.part import namedWidgets


def placeLast(ui: Any, uiFile: Path) -> Any:
    """Load a section, put it below all others and its widgets among the panel's; returns the section."""
    section = slicer.util.loadUI(str(uiFile))
    vars(ui).update(vars(namedWidgets(section, uiFile)))
    layout = ui.advancedCollapsibleButton.parentWidget().layout()
    last = max(index for index in range(layout.count()) if layout.itemAt(index).widget() is not None)
    layout.insertWidget(last + 1, section)  # the room that is left over stays below
    return section

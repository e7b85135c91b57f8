"""The panel's look on the stand-in: nothing is clipped in a narrow panel or with large text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
from host.eventloop import turn
from host.guiapplication import Panel
from host.window import neededHeight, textScale
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner


def unfold(panel: Panel, width: int) -> None:
    """Open every section and give the panel this width."""
    ui = panel.widget.ui
    for name in ("inputs", "method", "outputs", "advanced", "train", "review"):
        getattr(ui, f"{name}CollapsibleButton").collapsed = False
    panel.container.show()
    turn()
    panel.container.resize(width, neededHeight(panel.container, width))
    turn()


def clipped(panel: Panel) -> list[str]:
    """The visible widgets with a text that have less room than it needs; an elided text must be in the tooltip."""
    ui, found = panel.widget.ui, []
    for name, part in vars(ui).items():
        if not (hasattr(part, "isVisible") and part.isVisible()):
            continue
        kind = part.className()
        if kind in ("QComboBox", "qMRMLNodeComboBox"):  # they elide
            text = part.currentText if kind == "QComboBox" else _nodeName(part)
            if _comboNeeds(part, text) > part.width and text not in part.toolTip:
                found.append(f"{name}: '{text}' of {_comboNeeds(part, text)} in {part.width}")
            if part.height < part.fontMetrics().height():
                found.append(f"{name}: {part.height} high")
            continue
        if kind in ("QSpinBox", "QDoubleSpinBox"):
            if part.width < part.minimumSizeHint.width() - 1 or part.height < part.fontMetrics().height():
                found.append(f"{name}: {part.width} x {part.height} of {part.minimumSizeHint.width()}")
            continue
        if not getattr(part, "text", ""):
            continue
        if kind == "QLabel" and part.wordWrap:
            short = part.height < part.heightForWidth(part.width)
            word = max((part.fontMetrics().horizontalAdvance(each) for each in _plain(part.text).split()), default=0)
            if short or part.width < min(word, 10_000):
                found.append(f"{name}: {part.width} x {part.height}")
        elif kind in ("QLabel", "QPushButton", "QCheckBox") and (
            part.width < part.sizeHint.width() - 1 or part.height < part.sizeHint.height() - 1
        ):
            found.append(f"{name}: {part.width} x {part.height} of {part.sizeHint.width()} x {part.sizeHint.height()}")
    if panel.container.width > panel.container.window().width:
        found.append("the panel is wider than its window")
    return found


def _comboNeeds(combo: Any, text: str) -> int:
    """The width that a combo box needs for a text: with its frame and arrow."""
    return combo.fontMetrics().horizontalAdvance(text) + 2 * combo.fontMetrics().height()


def _nodeName(combo: Any) -> str:
    node = combo.currentNode()
    return "" if node is None else node.GetName()


def _plain(text: str) -> str:
    document = qt.QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


@pytest.mark.parametrize(("width", "scale"), [(320, 1.0), (640, 2.0), (320, 2.0)])
def test_standInNothingIsClipped(width: int, scale: float, openPanel: OpenPanel, tmp_path: Path) -> None:
    """320 pixels at 100 %; 640 pixels of half the size, text and widgets twice as large; 320 with text at 200 %."""
    with textScale(scale):
        panel = openPanel()
        useRunner(panel, makeRunner(tmp_path))
        addChest()
        unfold(panel, width)
        assert panel.container.width == width
        assert clipped(panel) == []
        panel.widget.ui.applyButton.click()
        assert panel.widget.ui.queueButton.isVisible()
        turn()
        assert clipped(panel) == []
        idle(panel)
        for tab in (2, 0, 1):
            panel.widget.ui.reviewTabs.setCurrentIndex(tab)
            for _settling in range(2):
                turn()
                unfold(panel, width)
            assert panel.container.width == width
            assert clipped(panel) == []
        panel.widget.ui.findButton.click()
        for _settling in range(2):
            turn()
            unfold(panel, width)
        assert panel.container.width == width
        assert clipped(panel) == []
        # The check itself sees what is too narrow, and a text that is too long for its room.
        panel.widget.ui.findButton.setMaximumWidth(40)
        panel.widget.ui.presetLabel.setMaximumHeight(3)
        panel.widget.ui.priorComboBox.setMaximumWidth(60)
        panel.widget.ui.priorComboBox.toolTip = "The prior"
        turn()
        assert {each.partition(":")[0] for each in clipped(panel)} == {"presetLabel", "findButton", "priorComboBox"}


def test_standInEveryControlHasATooltip(openPanel: OpenPanel, application: Any) -> None:
    panel = openPanel()
    named = [
        name for name, part in vars(panel.widget.ui).items()
        if name.endswith(("ComboBox", "SpinBox", "CheckBox", "Selector", "Slider", "Edit", "Table"))
        or (name.endswith("Button") and "Collapsible" not in name and name != "setupButton")
        if not part.toolTip and name not in ("SpinBox", "Slider")  # parts of ctkSliderWidget
    ]
    assert named == []

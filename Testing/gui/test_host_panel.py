"""This project's module on the stand-in: its panel opens, follows the scene and closes."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from host.eventloop import turn
from host.guiapplication import GuiApplication, Panel


def test_standInOpensThePanel(openPanel: Callable[..., Panel]) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    assert ui.applyButton.text == "Apply"
    assert not ui.applyButton.enabled
    assert slicer.util.getModuleWidget("DiffusionRecon") is panel.widget
    assert slicer.util.getModule("DiffusionRecon").title == "Diffusion Reconstruction"


def test_standInApplicationClosesThePanel(application: GuiApplication, openPanel: Callable[..., Panel]) -> None:
    panel, ended = openPanel(), []
    panel.widget.cleanup = lambda: ended.append(True)
    application.close()
    turn()
    assert ended == [True]

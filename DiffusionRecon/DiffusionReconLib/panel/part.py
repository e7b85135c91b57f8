"""What the sections of the panel have in common: choices by name, rows that come and go, one way to be updated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import slicer.util

from DiffusionReconLib.panel.tones import BAD, toneColour

NARROWEST = 100
"""Width in pixels below which a text has no place yet."""
TIP = "plainToolTip"
"""The dynamic property with a tooltip as the .ui file has it: Slicer rewrites `toolTip`."""


def namedWidgets(content: Any, uiFile: str | Path) -> SimpleNamespace:
    """The widgets of a .ui file by their names there; none of those that Qt and CTK make, and destroy, inside them."""
    elements = {element.get("name"): element for element in ElementTree.parse(uiFile).iter("widget")}
    every = vars(slicer.util.childWidgetVariables(content))
    found = {name: widget for name, widget in every.items() if name in elements}
    for name, widget in found.items():
        tip = elements[name].findtext("property[@name='toolTip']/string")
        if tip:
            widget.setProperty(TIP, tip)
    return SimpleNamespace(**found)


def tipOf(widget: Any) -> str:
    """The tooltip that a widget of `namedWidgets` has in its .ui file, "" without one; never read `toolTip` back."""
    return widget.property(TIP) or ""


def onPathEdited(edit: Any, slot: Callable[[str], Any]) -> None:
    """Call `slot` with the text of a ctkPathLineEdit at each change.

    The edit's own currentPathChanged does not tell of a text that is empty or does not match the name filters; the line
    inside it does. Set `showHistoryButton` before, in the .ui file: it makes another line.
    """
    slicer.util.findChildren(edit, className="QLineEdit")[0].connect("textChanged(QString)", slot)


class Choices:
    """A combo box whose entries have a name that is stored and a title that is shown.

    In a narrow panel the shown title is cut off with dots: its tooltip has all of it.
    """

    def __init__(self, combo: Any, chosen: Callable[[str], None]) -> None:
        self._combo, self._chosen = combo, chosen
        self._quiet = False
        self._tip, self._told = tipOf(combo), ""
        self._shown: list[tuple[str, str]] = []
        combo.connect("currentIndexChanged(int)", self._changed)

    def fill(self, entries: Iterable[tuple[str, str]]) -> None:
        """Offer these (name, title) pairs; nothing happens when they are offered already."""
        entries = list(entries)
        if entries == self._shown:
            return
        self._shown, self._quiet = entries, True
        self._combo.clear()
        for name, title in entries:
            self._combo.addItem(title, name)
        self._quiet = False

    @property
    def names(self) -> list[str]:
        """The names on offer."""
        return [name for name, _title in self._shown]

    def show(self, name: str) -> None:
        """Show an entry without storing anything; an unknown name shows none."""
        index = self.names.index(name) if name in self.names else -1
        if self._combo.currentIndex != index:
            self._quiet = True
            self._combo.currentIndex = index
            self._quiet = False
        self._tell()

    def _tell(self) -> None:
        title = self._combo.currentText
        tip = f"{title}\n{self._tip}" if title else self._tip
        if self._told != tip:
            self._told = self._combo.toolTip = tip

    def _changed(self, index: int) -> None:
        self._tell()
        if not self._quiet and 0 <= index < len(self._shown):
            self._chosen(self._shown[index][0])


class Part:
    """A section: `ui` has its widgets; `parameters` are the current ones, None while there are none."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None

    def setParameters(self, parameters: Any) -> None:
        """Work on another parameter node from now on."""
        self.parameters = parameters

    def update(self) -> None:
        """Show what the parameters say; called after each change, so it must be quick and change nothing."""

    def close(self) -> None:
        """Stop whatever goes on in the background."""

    def choices(self, widget: str, field: str) -> Choices:
        """The choices of a combo box that are stored in a parameter."""
        return Choices(getattr(self.ui, widget), lambda name: self.store(field, name))

    def store(self, field: str, value: Any) -> None:
        """Set a parameter, when there are any."""
        if self.parameters is not None and getattr(self.parameters, field) != value:
            setattr(self.parameters, field, value)

    def showRow(self, widget: str, visible: bool) -> None:
        """Show or hide a row: the widget `{widget}Row` around it, else the widget and its label.

        A form in which single rows are hidden may give others no height, in Qt 6.4, where long rows wrap: a row that
        comes and goes by itself needs a form of its own.
        """
        row = getattr(self.ui, f"{widget}Row", None)
        names = (widget, f"{widget}Label") if row is None else ()
        for part in (row, *(getattr(self.ui, name, None) for name in names)):
            if part is not None:
                part.setVisible(visible)


def setText(label: Any, text: str, bad: bool = False) -> None:
    """Put a text on a label, in the style's red when it is about something wrong; an empty one takes no room."""
    style = f"color: {toneColour(label, BAD)};" if bad else ""
    if label.text != text:
        label.text = text
    if label.styleSheet != style:
        label.styleSheet = style
    label.setVisible(bool(text))
    if label.wordWrap:  # a layout that has too little room takes it from such texts first
        label.setMinimumHeight(label.heightForWidth(label.width) if text and label.width > NARROWEST else 0)

"""Widgets bound to parameters of a parameter node, pair by pair as Slicer binds them; other pairs are refused."""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOWEST, HIGHEST = -(2**31), 2**31 - 1
# Widget class, its property and the signal that tells of a change.
PLAIN = {
    ("QCheckBox", bool): ("checked", "toggled(bool)"),
    ("QPushButton", bool): ("checked", "toggled(bool)"),
    ("QSlider", int): ("value", "valueChanged(int)"),
    ("QSpinBox", int): ("value", "valueChanged(int)"),
    ("QDoubleSpinBox", float): ("value", "valueChanged(double)"),
    ("ctkSliderWidget", float): ("value", "valueChanged(double)"),
    ("QLineEdit", str): ("text", "textChanged(QString)"),
    ("QTextEdit", str): ("plainText", "textChanged()"),
    ("ctkPathLineEdit", Path): ("currentPath", "currentPathChanged(QString)"),
}
NEEDS_BOUNDS = ("QSlider", "ctkSliderWidget")


def split(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without annotations and None, and the annotations."""
    annotations: tuple[Any, ...] = ()
    if typing.get_origin(annotated) is typing.Annotated:
        annotated, *rest = typing.get_args(annotated)
        annotations = tuple(rest)
    if typing.get_origin(annotated) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotated) if kind is not type(None)]
        annotated = kinds[0] if len(kinds) == 1 else annotated
    return annotated, annotations


class Connector:
    """Reads and writes one widget, and calls back when the user changes it."""

    def __init__(
        self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]
    ) -> None:
        self.widget, self._signal, self.read, self.write = widget, signal, read, write
        self._callback: Callable[[], None] | None = None

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call this at changes from now on; None ends it."""
        self._callback = callback
        if callback is None:
            self.widget.disconnect(self._signal, self._changed)
        else:
            self.widget.connect(self._signal, self._changed)


def connectorFor(widget: Any, annotated: Any) -> Connector:
    """The connector of a widget and a parameter's type; RuntimeError for a pair that Slicer has none for."""
    kind, annotations = split(annotated)
    name = widget.className()
    if (name, kind) in PLAIN:
        attribute, signal = PLAIN[name, kind]
        if name == "QPushButton":
            widget.checkable = True
        if kind in (int, float):
            _setRange(widget, kind, annotations)
        return Connector(
            widget,
            signal,
            lambda: kind(getattr(widget, attribute)),
            lambda value: setattr(widget, attribute, str(value) if kind is Path else value),
        )
    if name == "QComboBox" and isinstance(kind, type):
        return _listConnector(widget, kind, annotations)
    if name == "qMRMLNodeComboBox" and hasattr(kind, "GetClassName"):
        widget.nodeTypes = [kind.__name__]
        return Connector(widget, "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{annotated}' to widget type '{name}'")


def _setRange(widget: Any, kind: type, annotations: tuple[Any, ...]) -> None:
    """The range of a number's widget is that of its validators, whatever the .ui file says."""
    def first(name: str) -> Any:
        return next((one for one in annotations if type(one).__name__ == name), None)

    within, low, high = first("WithinRange"), first("Minimum"), first("Maximum")
    if widget.className() in NEEDS_BOUNDS and within is None and (low is None or high is None):
        raise RuntimeError(f"Cannot have a connection to {widget.className()} where the parameter is unbounded.")
    for annotation, attribute in (("Decimals", "decimals"), ("SingleStep", "singleStep")):
        if first(annotation) is not None:
            setattr(widget, attribute, first(annotation).value)
    lowest, highest = (LOWEST, HIGHEST) if kind is int else (-math.inf, math.inf)
    bounds = within or low
    widget.minimum = bounds.minimum if bounds is not None else lowest
    bounds = within or high
    widget.maximum = bounds.maximum if bounds is not None else highest


def _listConnector(widget: Any, kind: type, annotations: tuple[Any, ...]) -> Connector:
    """A combo box gets the choices as its items, in the place of those that it had."""
    if issubclass(kind, enum.Enum):
        values = list(kind)
        labels = [value.label() if hasattr(value, "label") else value.name for value in values]
    else:
        found = [one for one in annotations if type(one).__name__ == "Choice"]
        if not found:
            raise RuntimeError("A QComboBox needs the Choice annotation at its parameter.")
        values = list(found[0].choices)
        labels = [str(value) for value in values]
    widget.clear()
    widget.addItems(labels)

    def write(value: Any) -> None:
        widget.currentIndex = values.index(value)

    return Connector(widget, "currentIndexChanged(int)", lambda: values[widget.currentIndex], write)

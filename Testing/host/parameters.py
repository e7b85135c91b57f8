"""`slicer.parameterNodeWrapper`, as far as a module needs it: typed attributes kept in a vtkMRMLScriptedModuleNode.

The values are written as Slicer writes them, so they live in a saved scene. Types: int, float, str, bool, Path, Enum,
MRML nodes and packs of these; annotations: Default and the validators. A type outside of these raises.
"""

from __future__ import annotations

import typing
from typing import Any

import vtk

from host import connectors
from host.packs import parameterPack
from host.parametertypes import (
    Choice,
    Decimals,
    Default,
    Exclude,
    Maximum,
    Minimum,
    NotNone,
    Parameter,
    SingleStep,
    Validator,
    WithinRange,
    isParameterPack,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "isParameterPack",
    "parameterNodeWrapper",
    "parameterPack",
]


class _Wrapper:
    """What every parameter node class gets: the node's own observing and modifying, and widgets bound to parameters."""

    allParameters: typing.ClassVar[dict[str, Parameter]]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._guis: dict[int, tuple[dict[str, connectors.Connector], int]] = {}
        self._nextTag, self._updatingGui = 0, False
        for name in self.allParameters:
            self.getValue(name)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        """A parameter's value, by its name; "pack.member" is one of a pack."""
        top, _dot, member = name.partition(".")
        value = self._parameter(top).read(self.parameterNode, self._prefix + top)
        return value.getValue(member) if member else value

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter by its name; raises TypeError or ValueError for what may not be stored."""
        top, _dot, member = name.partition(".")
        if member:
            self.getValue(top).setValue(member, value)
            return
        parameter = self._parameter(name)
        wasModifying = self.StartModify()
        try:
            parameter.write(self.parameterNode, self._prefix + name, value)
        finally:
            self.EndModify(wasModifying)

    def default(self, name: str) -> Default:
        """A parameter's default."""
        return self._parameter(name).default

    def dataType(self, name: str) -> Any:
        """A parameter's annotated type."""
        top, _dot, member = name.partition(".")
        parameter = self._parameter(top)
        return parameter.kind.dataType(member) if member else parameter.annotated

    def StartModify(self) -> int:
        """Gather the node's modified events; give what this returns to EndModify."""
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: int) -> int:
        """Send the gathered modified events as one."""
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """End observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Tell the node's observers that it changed."""
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets whose SlicerParameterName names a parameter, both ways; returns a tag for `disconnectGui`.

        `gui`: a widget or what slicer.util.childWidgetVariables returned. A widget that cannot show its parameter's
        type raises RuntimeError.
        """
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = [(widget.property("SlicerParameterName"), widget) for widget in widgets if hasattr(widget, "property")]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets, both ways, by a dictionary from names to widgets."""
        made = {name: connectors.connectorFor(widget, self.dataType(name)) for name, widget in mapping.items()}
        for name, connector in made.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._fromGui(name, connector))
        self._nextTag += 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toGui())
        self._guis[self._nextTag] = (made, observer)
        return self._nextTag

    def disconnectGui(self, tag: int | None) -> None:
        """Undo a connection by its tag; another tag is ignored, as in Slicer."""
        made, observer = self._guis.pop(tag, ({}, None))
        for connector in made.values():
            connector.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _fromGui(self, name: str, connector: connectors.Connector) -> None:
        if not self._updatingGui:
            self.setValue(name, connector.read())

    def _toGui(self) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        wasModifying = self.StartModify()
        try:
            for made, _observer in self._guis.values():
                for name, connector in made.items():
                    connector.write(self.getValue(name))
        finally:
            self._updatingGui = False
            self.EndModify(wasModifying)


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    """Whether this is a decorated class or an object of one."""
    return hasattr(classOrObject, "allParameters")


def parameterNodeWrapper(kind: type | None = None) -> Any:
    """Make a class with annotated attributes a view of a vtkMRMLScriptedModuleNode, which its constructor takes."""
    if kind is None:
        return parameterNodeWrapper
    parameters = {
        name: Parameter(kind, name, annotated)
        for name, annotated in typing.get_type_hints(kind, include_extras=True).items()
    }
    reserved = sorted(set(parameters) & set(vars(_Wrapper)))
    if reserved:
        raise ValueError(f"Cannot use reserved name '{reserved[0]}' in a parameterNodeWrapper")
    kind.allParameters = parameters
    for name, member in vars(_Wrapper).items():
        if callable(member) and (name == "__init__" or not name.startswith("__")):
            setattr(kind, name, member)
    for name in parameters:
        getter, setter = _accessors(name)
        setattr(kind, name, property(getter, setter))
    return kind


def _accessors(name: str) -> tuple[Any, Any]:
    return lambda self: self.getValue(name), lambda self, value: self.setValue(name, value)

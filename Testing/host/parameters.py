"""`slicer.parameterNodeWrapper`, as far as a module needs it: typed attributes kept in a vtkMRMLScriptedModuleNode.

The values are written as Slicer writes them, so they live in a saved scene. Types: int, float, str, bool, Path, Enum
and MRML nodes; annotations: Default and the validators below. A type outside of these raises.
"""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from host import connectors

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
    "parameterNodeWrapper",
]


@dataclass(frozen=True)
class Default:
    """A parameter's value in a new parameter node."""

    value: Any


class Validator:
    """Refuses a value by raising from `validate`; the base of module's own ones too."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for a bad value."""
        raise NotImplementedError


@dataclass(frozen=True)
class WithinRange(Validator):
    """The value lies between two bounds, which belong to the range."""

    minimum: Any
    maximum: Any

    def validate(self, value: Any) -> None:
        """Raise ValueError outside of the range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum(Validator):
    """The value is not below a bound."""

    minimum: Any

    def validate(self, value: Any) -> None:
        """Raise ValueError below the bound."""
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum(Validator):
    """The value is not above a bound."""

    maximum: Any

    def validate(self, value: Any) -> None:
        """Raise ValueError above the bound."""
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice(Validator):
    """The value is one of some."""

    choices: Any

    def validate(self, value: Any) -> None:
        """Raise ValueError for another value."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


@dataclass(frozen=True)
class Exclude(Validator):
    """The value is none of some."""

    excludedValues: Any

    def validate(self, value: Any) -> None:
        """Raise ValueError for one of them."""
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must not be one of the following: {self.excludedValues}")


class NotNone(Validator):
    """There is a value."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for None."""
        if value is None:
            raise ValueError("Value must not be None")


@dataclass(frozen=True)
class Decimals:
    """How many decimals the connected widget shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """By how much the connected widget steps."""

    value: float


class _Parameter:
    """One attribute: its type, default and validators, and how it is written to a node."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name, self.annotated = name, annotated
        self.kind, self.annotations = connectors.split(annotated)
        isNode = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not (isinstance(self.kind, type) and issubclass(self.kind, int | float | str | Path | enum.Enum)) and (
            not isNode
        ):
            raise ValueError(
                f"Expected {owner.__name__}.{name} to be int, float, str, bool, Path, an Enum or a MRML node, "
                f"found {annotated}: the stand-in has no other types."
            )
        self.isNode = isNode
        found = [one for one in self.annotations if isinstance(one, Default)]
        self.default = Default(vars(owner)[name]) if name in vars(owner) else found[0] if found else self._plain()
        self.validators = [one for one in self.annotations if isinstance(one, Validator)]

    def _plain(self) -> Default:
        if self.isNode:
            return Default(None)
        return Default(next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind())

    def check(self, value: Any) -> None:
        """Raise TypeError or ValueError for a value that may not be stored."""
        allowed = (int, float) if self.kind is float else self.kind
        if not (isinstance(value, allowed) or (self.isNode and value is None)):
            raise TypeError(f"{self.name}: value must be of type {self.kind.__name__}, is {value!r}")
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store a value."""
        self.check(value)
        if self.isNode:
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any, name: str) -> Any:
        """The stored value; the default, which is then stored, where there is none."""
        if not node.HasParameter(name):
            self.write(node, name, self.default.value)
        if self.isNode:
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)


class _Wrapper:
    """What every parameter node class gets: the node's own observing and modifying, and widgets bound to parameters."""

    allParameters: typing.ClassVar[dict[str, _Parameter]]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._guis: dict[int, tuple[dict[str, connectors.Connector], int]] = {}
        self._nextTag, self._updatingGui = 0, False
        for name in self.allParameters:
            self.getValue(name)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        """A parameter's value, by its name."""
        return self._parameter(name).read(self.parameterNode, self._prefix + name)

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter by its name; raises TypeError or ValueError for what may not be stored."""
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
        return self._parameter(name).annotated

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
        """Bind the widgets whose SlicerParameterName names a parameter, both ways; returns a tag to disconnect by.

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
        name: _Parameter(kind, name, annotated)
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

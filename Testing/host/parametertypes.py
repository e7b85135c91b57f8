"""The types of parameters in the stand-in's parameterNodeWrapper: validators, and how each value is kept in a node."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from host import connectors


def isParameterPack(kind: Any) -> bool:
    """Whether this is a class that `parameterPack` made, or an object of one."""
    return getattr(kind, "_is_parameterPack", False)


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


class Parameter:
    """One attribute: its type, default and validators, and how it is written to a node."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name, self.annotated = name, annotated
        self.kind, self.annotations = connectors.split(annotated)
        self.isPack = isParameterPack(self.kind)
        self.isNode = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        plain = isinstance(self.kind, type) and issubclass(self.kind, int | float | str | Path | enum.Enum)
        if not (plain or self.isNode or self.isPack):
            raise ValueError(
                f"Expected {owner.__name__}.{name} to be int, float, str, bool, Path, an Enum, a MRML node or a "
                f"parameterPack, found {annotated}: the stand-in has no other types."
            )
        found = [one for one in self.annotations if isinstance(one, Default)]
        self.default = Default(getattr(owner, name)) if hasattr(owner, name) else found[0] if found else self._plain()
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
        if self.isPack:
            value.writeAll(node, name)
        elif self.isNode:
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any, name: str) -> Any:
        """The stored value; the default, which is then stored, where there is none."""
        if not self.isIn(node, name):
            self.write(node, name, self.default.value)
        return self.readStored(node, name)

    def isIn(self, node: Any, name: str) -> bool:
        """Whether there is a stored value; of a pack only the first member is asked, as in Slicer."""
        if self.isPack:
            first, parameter = next(iter(self.kind.allParameters.items()))
            return parameter.isIn(node, f"{name}.{first}")
        return bool(node.HasParameter(name))

    def readStored(self, node: Any, name: str) -> Any:
        """The stored value; raises ValueError for most types where there is none, as Slicer does inside of packs."""
        if self.isPack:
            return self.kind.observed(node, name)
        if self.isNode:
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

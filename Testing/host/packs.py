"""`slicer.parameterNodeWrapper.parameterPack`: values that belong together, one parameter of a parameter node.

A pack's members are kept as "<pack>.<member>". A pack that was read from a node writes itself back when it is changed.
"""

from __future__ import annotations

import typing
from typing import Any

from host.parametertypes import Parameter


class _Pack:
    """What every pack gets: members by name, compared by value."""

    allParameters: typing.ClassVar[dict[str, Parameter]]

    def __init__(self, *values: Any, **named: Any) -> None:
        given = {**dict(zip(self.allParameters, values, strict=False)), **named}
        unknown = sorted(set(given) - set(self.allParameters))
        if unknown:
            raise TypeError(f"__init__() got an unexpected keyword argument '{unknown[0]}'")
        self.__dict__["_members"] = {}
        for name, parameter in self.allParameters.items():
            self._put(name, given.get(name, parameter.default.value))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Pack) and (self.allParameters, self._members) == (other.allParameters, other._members)

    __hash__ = None

    def _put(self, name: str, value: Any) -> None:
        self.allParameters[name].check(value)
        self._members[name] = value

    def _check(self, name: str) -> None:
        if name not in self.allParameters:
            raise ValueError(f"{self} has no member '{name}'")

    def getValue(self, name: str) -> Any:
        """A member's value, by its name; "pack.member" is one of a pack inside."""
        top, _dot, member = name.partition(".")
        self._check(top)
        return self._members[top].getValue(member) if member else self._members[top]

    def setValue(self, name: str, value: Any) -> None:
        """Set a member by its name; raises TypeError or ValueError for what may not be stored."""
        top, _dot, member = name.partition(".")
        self._check(top)
        if member:
            self._members[top].setValue(member, value)
        else:
            setattr(self, top, value)

    def writeAll(self, node: Any, name: str) -> None:
        """Store all members, as one change of the node."""
        before = node.StartModify()
        for member, parameter in self.allParameters.items():
            parameter.write(node, f"{name}.{member}", self._members[member])
        node.EndModify(before)

    @classmethod
    def dataType(cls, name: str) -> Any:
        """A member's annotated type."""
        top, _dot, member = name.partition(".")
        if top not in cls.allParameters:
            raise ValueError(f"{cls} has no member '{top}'")
        parameter = cls.allParameters[top]
        return parameter.kind.dataType(member) if member else parameter.annotated

    @classmethod
    def observed(cls, node: Any, name: str) -> Any:
        """The stored pack of a node; changes of it are stored at once, and other attributes are refused."""
        made = cls._observedKind.__new__(cls._observedKind)
        values = {member: one.readStored(node, f"{name}.{member}") for member, one in cls.allParameters.items()}
        _Pack.__init__(made, **values)
        made.__dict__["_place"] = (node, name)
        return made


class _Observed:
    """A pack that lives in a node."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}': none can be added")
        super().__setattr__(name, value)
        if "_place" in self.__dict__:
            self.writeAll(*self.__dict__["_place"])


def parameterPack(kind: type | None = None) -> Any:
    """Make a class with annotated attributes a pack of parameters."""
    if kind is None:
        return parameterPack
    members = typing.get_type_hints(kind, include_extras=True)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    kind.allParameters = {name: Parameter(kind, name, annotated) for name, annotated in members.items()}
    for name, parameter in kind.allParameters.items():
        parameter.check(parameter.default.value)
        if hasattr(_Pack, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterPack")
        getter, setter = _accessors(name)
        setattr(kind, name, property(getter, setter))
    kind._is_parameterPack = True
    made = type(kind.__name__, (kind, _Pack), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    made._observedKind = type(f"Observed{kind.__name__}", (_Observed, made), {})
    return made


def _accessors(name: str) -> tuple[Any, Any]:
    return lambda self: self._members[name], lambda self, value: self._put(name, value)

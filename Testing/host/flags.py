"""Values of properties of flags as PythonQt gives them on Qt 6."""

from __future__ import annotations

from typing import Any


class Flags:
    """The value of a property of flags on Qt 6: it compares and can be assigned, but `int()` refuses it."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return number(other) == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __and__(self, other: Any) -> Flags:
        return Flags(self._value & number(other))

    def __or__(self, other: Any) -> Flags:
        return Flags(self._value | number(other))

    def __bool__(self) -> bool:
        return bool(self._value)


def number(value: Any) -> Any:
    """The number of an enum's or a flags' value; anything else as it is."""
    return value._value if isinstance(value, Flags) else getattr(value, "value", value)

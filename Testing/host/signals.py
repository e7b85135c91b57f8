"""Signals and slots as PythonQt has them: connected by C++ signature, slots with fewer arguments, errors swallowed.

PythonQt prints an exception in a slot and goes on, and prints that a signal does not exist and returns False. On the
stand-in the first is recorded in `slotErrors`, for a test to fail on, and the second raises: both are always mistakes.
"""

from __future__ import annotations

import re
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import shiboken6
from PySide6 import QtCore

QObject = QtCore.QObject
_plainGet = QObject.__getattribute__
CONNECTIONS = "_standInConnections"


@dataclass(frozen=True)
class SlotError:
    """An exception that left a slot, which Slicer would print and forget."""

    where: str
    exception: BaseException

    def __str__(self) -> str:
        return f"{self.where}: {''.join(traceback.format_exception(self.exception)).strip()}"


@dataclass(frozen=True)
class _Connection:
    name: str
    target: Callable[..., Any]
    slot: Callable[..., Any]
    signal: QtCore.SignalInstance


slotErrors: list[SlotError] = []


def metaOf(target: Any) -> QtCore.QMetaObject:
    """The meta object of the target's class.

    Not target.metaObject(): PySide6 ties that wrapper, which is the class's own, to the life of one object, and the
    garbage collector ends the process later.
    """
    return type(target).staticMetaObject


def record(where: str, error: BaseException) -> None:
    """Keep an exception that nobody can catch, and print it as Slicer would."""
    slotErrors.append(SlotError(where, error))
    traceback.print_exception(error, file=sys.stderr)


def recordUncaught(_kind: type, error: BaseException, _trace: Any) -> None:
    """As sys.excepthook: exceptions in VTK's observers and in virtual functions end there and cannot be caught."""
    record("observer or virtual function", error)


def _taken(target: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt passes at most: those of a Python function; None for any number."""
    function = target.__func__ if isinstance(target, types.MethodType) else target
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & 0x04:  # 0x04: *args
        return None
    return function.__code__.co_argcount - isinstance(target, types.MethodType)


def _slot(target: Callable[..., Any], carried: int | None = None) -> Callable[..., None]:
    """A slot that passes on what the target takes, of what the connected signature carries."""
    counts = [count for count in (_taken(target), carried) if count is not None]
    most = min(counts) if counts else None

    owner = getattr(target, "__self__", None)

    def slot(*arguments: Any) -> None:
        if isinstance(owner, QObject) and not shiboken6.isValid(owner):
            return  # Qt undoes the connections of a deleted receiver
        try:
            target(*arguments[:most])
        except BaseException as error:  # nothing may pass into Qt, whatever it is
            record(getattr(target, "__qualname__", repr(target)), error)

    return slot


def _signal(sender: Any, signature: str) -> tuple[str, QtCore.SignalInstance, int]:
    """The normalised signature, its signal and how many arguments it carries; raises for an unknown one."""
    name = QtCore.QMetaObject.normalizedSignature(signature.removeprefix("2"))
    name = bytes(getattr(name, "data", lambda plain=name: plain)()).decode()
    match = re.fullmatch(r"(\w+)\((.*)\)", name)
    attribute = None
    if match:
        for base in type(sender).__mro__:
            attribute = attribute or vars(base).get("CPP_SIGNALS", {}).get(name)
        if attribute is None and metaOf(sender).indexOfSignal(name) >= 0:
            attribute = match[1]
    if attribute is None:
        raise RuntimeError(
            f"PythonQt: QObject::connect() signal '{signature}' does not exist on "
            f"{metaOf(sender).className()}"
        )
    signal = _plainGet(sender, attribute)
    overloaded = attribute == match[1] and len(_overloads(sender, attribute)) > 1
    return name, signal[match[2]] if overloaded and match[2] else signal, len(_arguments(match[2]))


def _overloads(sender: Any, name: str) -> list[str]:
    """What the signals of one name carry, as C++ types."""
    meta = metaOf(sender)
    methods = [meta.method(index) for index in range(meta.methodCount())]
    signatures = [
        bytes(method.methodSignature().data()).decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.Signal
    ]
    return [one.partition("(")[2][:-1] for one in signatures if one.partition("(")[0] == name]


def _arguments(text: str) -> list[str]:
    """The argument types of a signature; a comma inside a template is none between arguments."""
    return [part for part in re.sub(r"<[^>]*>", "", text).split(",") if part]


def _connections(sender: Any) -> list[_Connection]:
    return _plainGet(sender, "__dict__").setdefault(CONNECTIONS, [])


def connect(self: Any, signal: Any, receiver: Any = None, slot: Any = None, *rest: Any) -> bool:
    """`sender.connect('clicked(bool)', f)` or `sender.connect('clicked(bool)', receiver, 'slot(bool)')`."""
    if not isinstance(signal, str):  # PySide6's own SignalInstance.connect comes by here
        given = [argument for argument in (signal, receiver, slot) if argument is not None]
        return _plainGet(self, "connect")(*given, *rest)
    target = receiver if slot is None else getattr(receiver, re.sub(r"\(.*", "", slot.lstrip("1")))
    if not callable(target):
        raise TypeError(f"Expected something to call for '{signal}', found {target!r}.")
    name, instance, carried = _signal(self, signal)
    wrapped = _slot(target, carried)
    instance.connect(wrapped)
    _connections(self).append(_Connection(name, target, wrapped, instance))
    return True


def disconnect(self: Any, signal: Any, receiver: Any = None, slot: Any = None, *rest: Any) -> bool:
    """Undo one connection, or all of a signal when no receiver is given; False where there was none."""
    if not isinstance(signal, str):
        given = [argument for argument in (signal, receiver, slot) if argument is not None]
        return _plainGet(self, "disconnect")(*given, *rest)
    target = receiver if slot is None else getattr(receiver, re.sub(r"\(.*", "", slot.lstrip("1")))
    return _undo(self, _signal(self, signal)[0], target)


def _undo(sender: Any, name: str, target: Any) -> bool:
    found = [one for one in _connections(sender) if one.name == name and (target is None or one.target == target)]
    for one in found[: None if target is None else 1]:
        one.signal.disconnect(one.slot)
        _connections(sender).remove(one)
    return bool(found)


class BoundSignal:
    """`button.clicked`: a signal as an attribute, with connect, disconnect and emit."""

    def __init__(self, sender: Any, name: str, signal: QtCore.SignalInstance) -> None:
        self._sender, self._name, self._signal = sender, name, signal

    def connect(self, target: Callable[..., Any], *_: Any) -> bool:
        """Call the target with as many arguments as it takes."""
        if not callable(target):
            raise TypeError(f"Expected something to call for '{self._name}', found {target!r}.")
        wrapped, signal = _slot(target), self._widest()
        signal.connect(wrapped)
        _connections(self._sender).append(_Connection(self._name, target, wrapped, signal))
        return True

    def _widest(self) -> QtCore.SignalInstance:
        """The overload that carries the most: `clicked(bool)`, not `clicked()`."""
        overloads = _overloads(self._sender, self._name)
        widest = max(overloads, key=lambda carried: len(_arguments(carried)), default="")
        return self._signal[widest] if len(overloads) > 1 else self._signal

    def disconnect(self, target: Callable[..., Any] | None = None) -> bool:
        """Undo a connection made with this attribute; all of them without a target."""
        return _undo(self._sender, self._name, target)

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        self._signal.emit(*arguments)

    __call__ = emit

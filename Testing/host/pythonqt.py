"""PythonQt's attribute semantics on PySide6: what `widget.text` means inside Slicer, and what Slicer refuses.

Slicer's Python sees Qt through PythonQt, which differs from PySide6: a property is a value (`label.text`, not
`label.text()`), an unknown attribute cannot be set, signals are connected by their C++ signature, enum values are ints.
`install` gives every QObject of this process those semantics; it cannot be undone. The expected behaviours are the ones
that the real PythonQt printed (Testing/gui/test_host_conformance.py).
"""

from __future__ import annotations

import contextlib
import enum
import functools
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from host import signals
from host.flags import Flags, number

QObject = QtCore.QObject
_plainGet = QObject.__getattribute__
_property, _setProperty = QObject.property, QObject.setProperty

# PythonQt shows the static function, not the property of the same name.
HIDDEN_PROPERTIES = {("QTimer", "singleShot")}
INTEGERS = ("int", "uint", "qlonglong", "qulonglong", "short", "ushort")
_loading = False
_reading: set[tuple[int, str]] = set()
_ownGet: dict[type, Callable[[Any, str], Any]] = {}


def cppClass(kind: type) -> type:
    """Mark a Python class as standing in for a C++ class: attributes that it does not have cannot be set on it.

    Names that begin with an underscore are its own and stay free.
    """
    kind.standsForCpp = True
    return kind


def hasProperty(target: Any, name: str) -> bool:
    """Whether a C++ class has a property, dynamic ones left out."""
    return signals.metaOf(target).indexOfProperty(name) >= 0


def isCpp(kind: type) -> bool:
    """Whether objects of exactly this class are C++ objects to a user: Qt's own classes and their stand-ins."""
    return _isWrapper(kind) or vars(kind).get("standsForCpp", False)


@contextlib.contextmanager
def loadingUi() -> Any:
    """While a .ui file is loaded: QUiLoader's own attributes on the root widget are ignored (they do not exist)."""
    global _loading
    _loading = True
    try:
        yield
    finally:
        _loading = False


@functools.cache
def _isWrapper(kind: type) -> bool:
    return kind is object or kind.__module__.startswith(("PySide6", "Shiboken", "shiboken6"))


def _inPython(kind: type, name: str) -> Any:
    """The attribute as a Python class defines it, or None where only Qt's own classes do."""
    for base in kind.__mro__:
        if not _isWrapper(base) and name in vars(base):
            return vars(base)[name]
    return None


def _metaProperty(self: Any, name: str) -> QtCore.QMetaProperty | None:
    meta = signals.metaOf(self)
    index = meta.indexOfProperty("objectName" if name == "name" else name)
    if index < 0:
        return None
    for className, hidden in HIDDEN_PROPERTIES:
        if hidden == name and isinstance(self, getattr(QtCore, className)):
            return None
    return meta.property(index)


def _dynamicNames(self: Any) -> list[str]:
    return [bytes(name.data()).decode() for name in QObject.dynamicPropertyNames(self)]


def _getAttribute(self: Any, name: str) -> Any:
    """Python attribute, Qt property, method or signal or enum, dynamic property, child by objectName; in this order."""
    if name.startswith("__"):
        return _plainGet(self, name)
    kind = type(self)
    if name[:1] != "_" and isCpp(kind) and not shiboken6.isValid(self):
        return _ofDestroyed(kind, name)
    defined = _inPython(kind, name)
    if defined is not None or name in _plainGet(self, "__dict__"):
        value = _plainGet(self, name)
        if isinstance(defined, QtCore.Property) and isinstance(value, list):
            return tuple(value)
        return signals.BoundSignal(self, name, value) if isinstance(value, QtCore.SignalInstance) else value
    if not shiboken6.isValid(self):
        return _ofDestroyed(kind, name)
    if name in METHODS:
        return types.MethodType(METHODS[name], self)
    found = _metaProperty(self, name)
    if found is not None:
        return _readProperty(self, name, found)
    lookup = next((_ownGet[base] for base in kind.__mro__ if base in _ownGet), _plainGet)
    try:
        value = lookup(self, name)
    except AttributeError:
        return _dynamicOrChild(self, name)
    if isinstance(value, QtCore.SignalInstance):
        return signals.BoundSignal(self, name, value)
    return _acceptingInt(self, name, value) if name.startswith("set") else value


def _ofDestroyed(kind: type, name: str) -> Any:
    """What is left of a widget that Qt deleted: a property raises when it is read, a method when it is called."""
    if kind.staticMetaObject.indexOfProperty("objectName" if name == "name" else name) >= 0:
        raise ValueError(f"Trying to read property '{name}' from a destroyed {kind.__name__} object")

    def call(*_arguments: Any, **_named: Any) -> None:
        raise ValueError(f"Trying to call '{name}' on a destroyed {kind.__name__} object")

    return call


def plainToolTip(widget: Any) -> str:
    """A widget's tooltip as it was set, for tests to compare."""
    return _property(widget, "toolTip")


def _readProperty(self: Any, name: str, found: QtCore.QMetaProperty) -> Any:
    key = (id(self), name)
    if key in _reading:  # shiboken looks for a Python override of a virtual getter, such as sizeHint
        return _plainGet(self, name)
    _reading.add(key)
    try:
        value = _property(self, found.name())
    finally:
        _reading.discard(key)
    if name == "toolTip" and value and not QtGui.Qt.mightBeRichText(value):  # Slicer's tooltips wrap their lines
        return QtGui.Qt.convertFromPlainText(value, QtCore.Qt.WhiteSpaceNormal)
    if found.isFlagType() and isinstance(value, int | enum.Enum):
        return Flags(int(number(value)))
    return tuple(value) if found.typeName() == "QStringList" and value is not None else value


def _acceptingInt(self: Any, name: str, setter: Any) -> Any:
    """The setter of an enum property also takes its number: `label.setAlignment(0x84)`."""
    found = _metaProperty(self, name[3:4].lower() + name[4:])
    if found is None or not found.isEnumType():
        return setter

    @functools.wraps(setter)
    def call(*arguments: Any) -> Any:
        if len(arguments) == 1 and type(arguments[0]) in (int, Flags):
            _setProperty(self, found.name(), number(arguments[0]))
            return None
        return setter(*arguments)

    return call


def _dynamicOrChild(self: Any, name: str) -> Any:
    if name in _dynamicNames(self):
        return _property(self, name)
    for child in QObject.children(self):
        if QObject.objectName(child) == name:
            return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _setAttribute(self: Any, name: str, value: Any) -> None:
    """Set a property or a dynamic property; a C++ object takes nothing else, an object of a Python class does."""
    kind, own = type(self), _plainGet(self, "__dict__")
    if name[:1] != "_" and isCpp(kind) and not shiboken6.isValid(self):
        raise ValueError(f"Trying to set property '{name}' on a destroyed {kind.__name__} object")
    if isinstance(value, QtCore.SignalInstance) or name.startswith("__"):  # PySide6 keeps its bound signals so
        own[name] = value
        return
    if _loading and name[:1] != "_":
        return
    found = _metaProperty(self, name)
    if found is not None and not (not isCpp(kind) and name in vars(kind)):
        _writeProperty(self, name, found, value)
    elif name in _dynamicNames(self):
        _setProperty(self, name, value)
    elif not isCpp(kind):
        defined = _inPython(kind, name)
        if hasattr(type(defined), "__set__"):
            type(defined).__set__(defined, self, value)
        else:
            own[name] = value
    elif vars(kind).get("standsForCpp") and name.startswith("_"):
        own[name] = value
    else:
        _refuse(kind, name)


def _refuse(kind: type, name: str) -> None:
    known = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    if known is None:
        raise AttributeError(
            f"'{name}' does not exist on {kind.__name__} and creating new attributes on C++ objects is not allowed"
        )
    what = "Signal" if isinstance(known, QtCore.Signal) else "Enum" if isinstance(known, type | enum.Enum) else "Slot"
    raise AttributeError(f"{what} '{name}' can not be overwritten on {kind.__name__} object")


def _writeProperty(self: Any, name: str, found: QtCore.QMetaProperty, value: Any) -> None:
    kind = type(self).__name__
    if not found.isWritable():
        raise AttributeError(f"Property '{name}' of {kind} object is not writable")
    typeName = found.typeName()
    fits = True
    if found.isEnumType():
        fits = isinstance(value, int | enum.Enum | Flags)
        value = int(number(value)) if fits else value
    elif typeName in INTEGERS:
        fits = isinstance(value, int | float)
        value = int(value) if fits else value  # PythonQt truncates where QVariant would round
    elif typeName in ("double", "float"):
        fits = isinstance(value, int | float)
        value = float(value) if fits else value
    elif typeName == "bool":
        value = bool(value)
    elif typeName == "QString":
        value = str(value)
    elif typeName == "QStringList" and isinstance(value, tuple | list):
        value = [str(item) for item in value]
    if not fits or not _setProperty(self, found.name(), value):
        raise AttributeError(
            f"Property '{name}' of type '{typeName}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )


def _classNamed(kind: type | str) -> type:
    if not isinstance(kind, str):
        return kind
    for module in (QtWidgets, QtCore, QtGui):
        if hasattr(module, kind):
            return getattr(module, kind)
    raise ValueError(f"Expected the name of a Qt class, found {kind!r}.")


def _findChild(self: Any, kind: type | str, name: str = "") -> Any:
    return QObject.findChild(self, _classNamed(kind), name) if name else QObject.findChild(self, _classNamed(kind))


def _findChildren(self: Any, kind: type | str = QObject, name: str = "") -> tuple[Any, ...]:
    found = _plainFindChildren(self, _classNamed(kind))
    return tuple(child for child in found if not name or QObject.objectName(child) == name)


_plainFindChildren = QObject.findChildren

METHODS: dict[str, Callable[..., Any]] = {
    "connect": signals.connect,
    "disconnect": signals.disconnect,
    "className": lambda self: signals.metaOf(self).className(),
    "delete": lambda self: shiboken6.delete(self),
    "findChild": _findChild,
    "findChildren": _findChildren,
}


def install() -> None:
    """Give all QObjects of this process PythonQt's semantics (once; a second call changes nothing)."""
    if QObject.__getattribute__ is _getAttribute:
        return
    QObject.__getattribute__ = _getAttribute
    for module in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools):
        for name in dir(module):  # PySide6 makes its classes when they are asked for
            kind = getattr(module, name)
            if isinstance(kind, type) and issubclass(kind, QObject):
                kind.__setattr__ = _setAttribute
                # QFile, QMenu, QProcess: a static and a plain function of one name, bound in a lookup of their own.
                if kind is not QObject and "__getattribute__" in vars(kind):
                    _ownGet[kind] = kind.__getattribute__
                    kind.__getattribute__ = _getAttribute

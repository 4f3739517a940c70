"""PythonQt's idiom over PySide6: the modules ``qt`` and ``ctk`` as scripted modules of Slicer know them.

Properties are attributes (``button.enabled = False``), signals are named by their C++ signature
(``button.connect("clicked(bool)", f)``), enum values are found through instances. What PythonQt refuses is refused
here too: an unknown signal, an unknown attribute, a value of the wrong kind. PySide6's own classes are patched, for
the whole process, since Qt itself hands such objects out (the children of a widget read from a ``.ui`` file, say).

Not as in PythonQt: ``sizeHint`` and ``minimumSizeHint`` stay methods, and enums are Python's, never ``int``.
"""

from __future__ import annotations

import ctypes
import inspect
import numbers
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

QT_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
# Shiboken looks virtual functions up by name: a property there would compute the layout twice at every level.
METHODS_THAT_STAY = {"sizeHint", "minimumSizeHint"}
NUMBER_TYPES: dict[str, Callable[[Any], Any]] = {"bool": bool, "int": int, "double": float}
#: Stand-in widgets by class name; filled by :func:`stand_in`.
STAND_INS: dict[str, type[QtCore.QObject]] = {}

_slots: weakref.WeakKeyDictionary[QtCore.QObject, list[tuple[str, Any, Any]]] = weakref.WeakKeyDictionary()


def stand_in(cls: type[QtCore.QObject]) -> type[QtCore.QObject]:
    """Registers a Python widget under its own name, for ``.ui`` files and for the modules ``ctk`` and ``slicer``.

    ``SIGNATURES`` of the class maps the C++ signatures of its signals, normalised, to the names of its ``Signal``.
    """
    STAND_INS[cls.__name__] = cls
    return cls


class _Attribute(property):
    """A Qt property as an attribute of instances; through the class it stays the method it was."""

    def __init__(self, getter: Callable[[Any], Any], setter: Any, on_class: Any) -> None:
        super().__init__(getter, setter)
        self._on_class = on_class

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self if self._on_class is None else self._on_class.__get__(None, owner)
        return super().__get__(instance, owner)


def _converted(value: Any, type_name: str, name: str) -> Any:
    if type_name not in NUMBER_TYPES:
        return value
    if not isinstance(value, numbers.Real):
        kind = type(value).__name__
        raise ValueError(f"Property '{name}' of type '{type_name}' does not accept an object of type {kind} ({value})")
    return NUMBER_TYPES[type_name](value)


def _attribute(cls: type, declared: QtCore.QMetaProperty) -> _Attribute:
    name = declared.name()
    capital = name[0].upper() + name[1:]
    getter = next((cls.__dict__[n] for n in (name, "is" + capital, "has" + capital) if n in cls.__dict__), None)
    on_class = cls.__dict__.get(name)

    def read(self: QtCore.QObject) -> Any:
        if getter is None:
            return QtCore.QObject.property(self, name)
        return getter.__get__(self, type(self))()

    def write(self: QtCore.QObject, value: Any) -> None:
        value = _converted(value, declared.typeName(), name)
        setter = getattr(type(self), "set" + capital, None)
        if setter is None:
            QtCore.QObject.setProperty(self, name, value)
        else:
            setter(self, value)

    return _Attribute(read, write if declared.isWritable() else None, on_class)


def _make_attributes(cls: type) -> None:
    """Turns the properties a class declares, or answers by a method of its own, into attributes."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        declared = meta.property(index)
        name = declared.name()
        here = index >= meta.propertyOffset() or callable(cls.__dict__.get(name))
        if here and name not in METHODS_THAT_STAY:
            setattr(cls, name, _attribute(cls, declared))


# Signals


def _signatures(obj: QtCore.QObject) -> list[str]:
    meta = obj.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    return [
        method.methodSignature().data().decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal
    ]


def find_signal(obj: QtCore.QObject, signature: str) -> Any:
    """The signal of a C++ signature such as ``clicked(bool)``; raises :class:`ValueError` where there is none."""
    wanted = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    name, _, types_ = wanted.rstrip(")").partition("(")
    named = getattr(type(obj), "SIGNATURES", {})
    if wanted in named:
        return getattr(obj, named[wanted])
    # A stand-in's own signals are declared in Python types: only what it names is as in Slicer.
    python_made = set(named.values())
    known = [s for s in _signatures(obj) if s.partition("(")[0] not in python_made]
    if wanted not in known:
        like = [s for s in [*known, *named] if s.startswith(name + "(")]
        raise ValueError(
            f"{obj.metaObject().className()} has no signal {signature}"
            + (f"; there is {', '.join(like)}" if like else "")
        )
    signal = getattr(obj, name)
    overloaded = types_ and sum(s.startswith(name + "(") for s in known) > 1
    return signal[types_] if overloaded else signal


def _accepted(function: Callable[..., Any], given: int) -> int:
    """How many of a signal's arguments PythonQt hands to a function: as many as it takes."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built-in functions need not have a signature
        return given
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return given
    return min(given, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))


def _receiver(target: Any, rest: tuple[str, ...]) -> Callable[..., Any]:
    """``connect(signal, f)``, or ``connect(signal, object, "slot(type)")``."""
    function = getattr(target, rest[0].partition("(")[0]) if rest else target
    if not callable(function):
        raise ValueError(f"a signal is connected to something that can be called, got {function!r}")
    return function


def _connect(self: QtCore.QObject, signature: str, target: Any, *rest: str) -> bool:
    signal, function = find_signal(self, signature), _receiver(target, rest)
    arguments = signature.partition("(")[2].rstrip(") ")
    count = _accepted(function, len(arguments.split(",")) if arguments.strip() else 0)

    def slot(*values: Any) -> None:
        function(*values[:count])

    signal.connect(slot)
    _slots.setdefault(self, []).append((signature.replace(" ", ""), function, slot))
    return True


def _disconnect(self: QtCore.QObject, signature: str, target: Any = None, *rest: str) -> bool:
    signal = find_signal(self, signature)
    function = None if target is None else _receiver(target, rest)
    entries = _slots.get(self, [])
    key = signature.replace(" ", "")
    gone = [entry for entry in entries if entry[0] == key and function in (None, entry[1])]
    for entry in gone:
        signal.disconnect(entry[2])
        entries.remove(entry)
    return bool(gone)


# Attributes

_METHODS: dict[str, Callable[..., Any]] = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": lambda self: self.metaObject().className(),
    "delete": shiboken6.delete,
}


def _reading(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Shiboken finds ``connect`` past the class's dictionary, so only this hook can replace it."""

    def get_attribute(self: QtCore.QObject, name: str) -> Any:
        if name in _METHODS:
            return types.MethodType(_METHODS[name], self)
        try:
            return original(self, name)
        except AttributeError:
            if name[:1].isupper() and hasattr(type(self), name):  # an enum value such as process.Running
                return getattr(type(self), name)
            raise

    return get_attribute


def _is_modules_own(cls: type) -> bool:
    """A class the module under test derives from Qt's: PythonQt lets it have attributes of its own."""
    return not cls.__module__.startswith("PySide6") and STAND_INS.get(cls.__name__) is not cls


def _is_pysides(name: str, value: Any) -> bool:
    """PySide6 itself keeps signals it was asked for with the instance, and named children with a window."""
    if isinstance(value, QtCore.QObject):
        return QtCore.QObject.objectName(value) == name
    return isinstance(value, QtCore.SignalInstance)


def _set_attribute(self: QtCore.QObject, name: str, value: Any) -> None:
    cls = type(self)
    found = next((c.__dict__[name] for c in cls.__mro__ if name in c.__dict__), None)
    private = name.startswith("_") and cls in STAND_INS.values()
    settable = isinstance(found, property | QtCore.Property) or _is_pysides(name, value)
    if not settable and not private and not _is_modules_own(cls):
        raise AttributeError(f"{self.metaObject().className()} has no property {name!r} that can be set")
    QtCore.QObject.__setattr__(self, name, value)


def _public(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    # PySide6 makes its classes when they are first asked for: the module's dictionary need not have them yet.
    return ((name, getattr(module, name)) for name in dir(module) if not name.startswith("_"))


def _classes() -> Iterator[type]:
    seen: set[type] = set()
    for module in QT_MODULES:
        for _, value in _public(module):
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                # Bases first: a derived class then sees what it inherits.
                for cls in reversed(value.__mro__):
                    if issubclass(cls, QtCore.QObject) and cls not in seen:
                        seen.add(cls)
                        yield cls


def _single_shot(milliseconds: int, function: Callable[[], Any]) -> None:
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)

    def fire() -> None:
        timer.deleteLater()
        function()

    timer.timeout.connect(fire)
    timer.start(int(milliseconds))


def _lend_references() -> None:
    """PySide6 6.12 lets go of a reference to None or a bool that it does not own in nearly every call.

    Before Python 3.12, which made those objects immortal, they ran out after some hundred tests and ended the process.
    """
    if sys.version_info < (3, 12):
        for each in (None, True, False):
            ctypes.c_ssize_t.from_address(id(each)).value += 2**40  # CPython keeps the count first in an object


def patch() -> None:
    """Gives the classes of PySide6 PythonQt's idiom; once a process."""
    _lend_references()
    for cls in list(_classes()):
        _make_attributes(cls)
        if "__getattribute__" in cls.__dict__:
            cls.__getattribute__ = _reading(cls.__dict__["__getattribute__"])
        # QObject keeps its own: Python refuses to call it over classes that have all been replaced.
        if cls is not QtCore.QObject:
            cls.__setattr__ = _set_attribute
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    # The property of the same name hides the static function; PythonQt knows both.
    QtCore.QTimer.singleShot = _Attribute(
        QtCore.QTimer.isSingleShot, QtCore.QTimer.setSingleShot, staticmethod(_single_shot)
    )


def make_modules() -> tuple[types.ModuleType, types.ModuleType]:
    """The modules ``qt`` (flat, as in Slicer) and ``ctk`` (the stand-ins whose name starts so)."""
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in QT_MODULES:
        vars(qt).update(_public(module))
    for name in ("Signal", "Slot", "Property", "SignalInstance", "ClassInfo"):  # PySide6's, unknown to PythonQt
        vars(qt).pop(name, None)
    vars(ctk).update({name: cls for name, cls in STAND_INS.items() if name.startswith("ctk")})
    return qt, ctk

"""The stand-in answers as the real PythonQt does: the expectations were printed by PythonQt 4.1, on Qt 5.15 and 6.4.

What Slicer's application changes of it (tooltips, spacing) says so in the row's name.
Where the stand-in answers otherwise, the reason stands beside it (`test_whereTheStandInDiffers`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import pytest
import qt
import slicer


def answer(action: Callable[[], Any]) -> str:
    """What a Python console would show, errors with their type; cut where the oracle's lines were."""
    try:
        return repr(action())
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:90]}"


def assigned(target: Any, name: str, value: Any) -> Any:
    """Assign an attribute and read it again."""
    setattr(target, name, value)
    return getattr(target, name)


BUTTON = {
    "text": (lambda b: b.text, "'x'"),
    "a property is no method": (lambda b: b.text(), "TypeError: 'str' object is not callable"),
    "name": (lambda b: b.name, "''"),
    "text becomes str": (lambda b: assigned(b, "text", 5), "'5'"),
    "name is objectName": (lambda b: (assigned(b, "name", "bb"), b.objectName), "('bb', 'bb')"),
    "no new attributes": (
        lambda b: assigned(b, "foo", 1),
        "AttributeError: 'foo' does not exist on QPushButton and creating new attributes on C++ objects is not allo",
    ),
    "methods stay": (
        lambda b: assigned(b, "setText", 1),
        "AttributeError: Slot 'setText' can not be overwritten on QPushButton object",
    ),
    "isEnabled()": (lambda b: b.isEnabled(), "True"),
    "isVisible()": (lambda b: b.isVisible(), "False"),
    "isChecked()": (lambda b: b.isChecked(), "False"),
    "setText": (lambda b: (b.setText("q"), b.text), "(None, 'q')"),
    "enabled = None": (lambda b: assigned(b, "enabled", None), "False"),
    "enabled = 1": (lambda b: assigned(b, "enabled", 1), "True"),
    "text = None": (lambda b: assigned(b, "text", None), "'None'"),
    "width": (lambda b: b.width, "640"),
    "size is a value": (lambda b: b.size.width(), "640"),
    "parent()": (lambda b: b.parent(), "None"),
    "className()": (lambda b: b.className(), "'QPushButton'"),
    "inherits()": (lambda b: b.inherits("QWidget"), "True"),
    "type": (lambda b: type(b) is qt.QPushButton, "True"),
    "connect": (lambda b: b.connect("clicked(bool)", list), "True"),
    "property()": (lambda b: (b.setProperty("Some", "abc"), b.property("Some")), "(False, 'abc')"),
    "dynamic property": (lambda b: (b.setProperty("Some", "abc"), b.Some)[1], "'abc'"),
    "dynamic property set": (lambda b: (b.setProperty("Some", "abc"), assigned(b, "Some", "z"))[1], "'z'"),
    "property() missing": (lambda b: b.property("nope"), "None"),
    "font": (lambda b: b.font.bold(), "False"),
    "visible": (lambda b: assigned(b, "visible", False), "False"),
    "styleSheet": (lambda b: assigned(b, "styleSheet", "color:red"), "'color:red'"),
    "toolTip in Slicer": (lambda b: assigned(b, "toolTip", "tt"), "'<p>tt</p>'"),
    "toolTip of lines in Slicer": (lambda b: assigned(b, "toolTip", "a < b\nc"), "'<p>a &lt; b<br>\\nc</p>'"),
    "rich toolTip in Slicer": (lambda b: assigned(b, "toolTip", "<b>tt</b>"), "'<b>tt</b>'"),
    "no toolTip": (lambda b: b.toolTip, "''"),
}


@pytest.mark.parametrize("case", BUTTON)
def test_standInButton(case: str) -> None:
    action, expected = BUTTON[case]
    assert answer(lambda: action(qt.QPushButton("x"))) == expected


def comboBox() -> Any:
    combo = qt.QComboBox()
    combo.addItem("a", "A")
    combo.addItem("b")
    return combo


def table() -> Any:
    made = qt.QTableWidget()
    made.rowCount = 2
    made.setColumnCount(2)
    made.setItem(0, 0, qt.QTableWidgetItem("z"))
    return made


def nested() -> Any:
    widget = qt.QWidget()
    qt.QVBoxLayout(widget).addWidget(named(qt.QPushButton("x"), "bb"))
    return widget


def named(widget: Any, name: str) -> Any:
    widget.name = name
    return widget


def twoLines() -> Any:
    edit = qt.QPlainTextEdit()
    edit.plainText = "a"
    edit.appendPlainText("b")
    return edit


class Derived(qt.QWidget):
    """A user's own widget class, which may have attributes of its own."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.k = 3


def redLabel() -> Any:
    label = qt.QLabel("x")
    label.styleSheet = "color: #ff0000;"
    label.show()
    return label


OTHERS = {
    "a slider's range": (
        ctk.ctkSliderWidget, lambda w: w.setRange(0, 1),
        "AttributeError: ctkSliderWidget has no attribute named 'setRange'",
    ),
    "model of a table view": (
        slicer.qMRMLTableView, lambda w: (w.model().className(), hasattr(w.model(), "item")),
        "('QSortFilterProxyModel', False)",
    ),
    "a section's width": (
        ctk.ctkCollapsibleButton, lambda w: w.sizePolicy.horizontalPolicy() == qt.QSizePolicy.Minimum, "True",
    ),
    "a style sheet's colour": (redLabel, lambda w: w.palette.color(qt.QPalette.WindowText).name(), "'#ff0000'"),
    "an int property truncates": (qt.QProgressBar, lambda w: assigned(w, "value", 3.7), "3"),
    "a slot truncates": (qt.QProgressBar, lambda w: (w.setValue(3.7), w.value), "(None, 3)"),
    "range": (qt.QProgressBar, lambda w: (w.setRange(0, 10), w.maximum), "(None, 10)"),
    "count": (comboBox, lambda w: w.count, "2"),
    "currentText": (comboBox, lambda w: w.currentText, "'a'"),
    "currentData": (comboBox, lambda w: w.currentData, "'A'"),
    "currentIndex": (comboBox, lambda w: assigned(w, "currentIndex", 1), "1"),
    "itemData": (comboBox, lambda w: (w.itemData(0), w.itemData(1)), "('A', None)"),
    "findText": (comboBox, lambda w: (w.findText("b"), w.itemText(1)), "(1, 'b')"),
    "rowCount": (qt.QTableWidget, lambda w: (w.rowCount, assigned(w, "rowCount", 2)), "(0, 2)"),
    "items": (table, lambda w: (w.item(0, 0).text(), w.item(1, 1), w.columnCount), "('z', None, 2)"),
    "header": (table, lambda w: w.setHorizontalHeaderLabels(["a", "b"]), "None"),
    "alignment as int": (qt.QLabel, lambda w: (w.setAlignment(0x84), w.alignment == 0x84), "(None, True)"),
    "alignment as enum": (
        qt.QLabel, lambda w: (assigned(w, "alignment", qt.Qt.AlignRight) == qt.Qt.AlignRight, bool(w.alignment & 1)),
        "(True, False)",
    ),
    "alignment of another": (
        qt.QLabel, lambda w: (w.setAlignment(0x84), assigned(qt.QLabel(), "alignment", w.alignment) == 0x84),
        "(None, True)",
    ),
    "int of alignment": (
        qt.QLabel, lambda w: answer(lambda: int(w.alignment)).partition(":")[0], "'TypeError'",
    ),
    "child by name": (nested, lambda w: w.bb.text, "'x'"),
    "one wrapper": (nested, lambda w: len({w.bb, w.findChild(qt.QPushButton, "bb")}), "1"),
    "layout in Slicer's style": (nested, lambda w: (w.layout().count(), w.layout().spacing), "(1, 3)"),
    "children()": (nested, lambda w: len(w.children()), "2"),
    "findChild by class name": (nested, lambda w: w.findChild("QPushButton", "bb") is not None, "True"),
    "findChildren": (nested, lambda w: len(w.findChildren(qt.QWidget)), "1"),
    "missing": (nested, lambda w: w.nope, "AttributeError: QWidget has no attribute named 'nope'"),
    "windowTitle": (nested, lambda w: assigned(w, "windowTitle", "t"), "'t'"),
    "derived": (Derived, lambda w: (w.k, assigned(w, "zz", 4)), "(3, 4)"),
    "derived is its base": (Derived, lambda w: (isinstance(w, qt.QWidget), w.className()), "(True, 'Derived')"),
    "timer": (qt.QTimer, lambda w: (assigned(w, "interval", 5), w.active, w.isActive()), "(5, False, False)"),
    "singleShot is a function": (qt.QTimer, lambda w: (w.setSingleShot(True), callable(w.singleShot)), "(None, True)"),
    "plainText": (qt.QPlainTextEdit, lambda w: assigned(w, "plainText", "a"), "'a'"),
    "toPlainText()": (twoLines, lambda w: (w.plainText, w.toPlainText()), r"('a\nb', 'a\nb')"),
    "scroll bar": (twoLines, lambda w: w.verticalScrollBar().maximum, "1"),
    "spin box": (qt.QSpinBox, lambda w: assigned(w, "value", 7), "7"),
    "spin box call": (qt.QSpinBox, lambda w: w.value(), "TypeError: 'int' object is not callable"),
    "spin box str": (
        qt.QSpinBox,
        lambda w: assigned(w, "value", "8"),
        "AttributeError: Property 'value' of type 'int' does not accept an object of type str ('8')",
    ),
    "check box": (qt.QCheckBox, lambda w: (int(w.checkState()), assigned(w, "checked", True)), "(0, True)"),
    "process": (qt.QProcess, lambda w: int(w.state()), "0"),
    "settings": (qt.QSettings, lambda w: callable(w.value), "True"),
    "exec_": (qt.QDialog, lambda w: callable(w.exec_), "True"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_standInWidgets(case: str) -> None:
    make, action, expected = OTHERS[case]
    assert answer(lambda: action(make())) == expected


ENUMS = {
    "a button": (lambda: (int(qt.QMessageBox.Ok), isinstance(qt.QMessageBox.Ok, int)), "(1024, True)"),
    "type's name": (lambda: type(qt.QMessageBox.Ok).__name__, "'StandardButton'"),
    "or": (lambda: int(qt.QMessageBox.Ok | qt.QMessageBox.Cancel), "4195328"),
    "cursor": (lambda: (int(qt.Qt.WaitCursor), isinstance(qt.Qt.WaitCursor, int)), "(3, True)"),
    "flags": (lambda: int(qt.Qt.AlignLeft | qt.Qt.AlignTop), "33"),
    "equal to int": (lambda: qt.Qt.Checked == 2, "True"),
    "colour": (lambda: (qt.QColor(1, 2, 3).red(), qt.QColor(1, 2, 3).name()), "(1, '#010203')"),
    "file dialog": (lambda: callable(qt.QFileDialog.getOpenFileName), "True"),
}


@pytest.mark.parametrize("case", ENUMS)
def test_standInValues(case: str) -> None:
    action, expected = ENUMS[case]
    assert answer(action) == expected


def test_standInSlotsGetWhatTheyTake() -> None:
    button, got = qt.QPushButton("x"), []

    def none() -> None:
        got.append("f0")

    def one(a: Any) -> None:
        got.append(("f1", a))

    def two(a: Any, b: Any = 7) -> None:
        got.append(("f2", a, b))

    def many(*a: Any) -> None:
        got.append(("fv", a))

    for slot in (none, one, two):
        assert button.connect("clicked(bool)", slot)
    button.connect("clicked()", many)
    button.clicked.connect(many)
    button.connect("clicked(bool)", lambda a=9: got.append(("lam", a)))
    button.click()
    assert got == ["f0", ("f1", False), ("f2", False, 7), ("fv", ()), ("fv", (False,)), ("lam", False)]
    assert button.disconnect("clicked(bool)", none)
    assert not button.disconnect("clicked(bool)", none)
    got.clear()
    button.click()
    assert got[0] == ("f1", False)


def test_whereTheStandInDiffers() -> None:
    """The answers of PythonQt that the stand-in does not give."""
    button = qt.QPushButton("x")
    # PythonQt prints a line and returns False, so that a misspelt signal goes unnoticed: here it raises.
    with pytest.raises(RuntimeError, match=r"signal 'nosuch\(bool\)' does not exist on QPushButton"):
        button.connect("nosuch(bool)", print)
    # False in PythonQt, whose wrapper classes do not inherit; PySide6 itself needs this to be True.
    assert isinstance(button, qt.QWidget)
    # A QFlags of PythonQt there; both compare with numbers and refuse int().
    assert type(qt.QLabel().alignment).__name__ == "Flags"
    # 'PythonQt.QtCore.QSize' and 'builtin_qt_slot' there: no program depends on where a class comes from.
    assert type(button.size).__name__ == "QSize"

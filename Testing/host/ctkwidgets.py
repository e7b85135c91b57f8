"""Stand-ins for the ctk widgets that a panel uses, with the properties, methods and signals of the C++ classes.

They are written in PythonQt's manner themselves (`self.width` is a value), since its semantics hold for all of Qt.
"""

from __future__ import annotations

import re
import types
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from host import qtmodules

TITLE_HEIGHT = 22
SHOWN = "visibilityToParent"


def stored(kind: Any, name: str, default: Any) -> Property:
    """A C++ property that only keeps its value."""
    key = f"_{name}"
    return Property(kind, lambda self: self.__dict__.get(key, default), lambda self, new: setattr(self, key, new))


def forwarded(kind: Any, part: str, name: str) -> Property:
    """A C++ property that is the property `name` of the child widget kept as `part`."""
    return Property(
        kind,
        lambda self: getattr(self.__dict__[part], name),
        lambda self, new: setattr(self.__dict__[part], name, new),
    )


def row(widget: QtWidgets.QWidget, *children: QtWidgets.QWidget) -> None:
    """Lay children out in one row without margins, the first one stretching."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child, 1 if child is children[0] else 0)


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that folds its children away.

    As the C++ class it hides and shows its own children, not theirs, and remembers of each whether somebody hid it
    ("visibilityToParent"). Before the first show it touches none; a child that somebody made visible until then stays
    so when the section itself was made visible explicitly, even if it is folded.
    """

    contentsCollapsed = Signal(bool)
    flat = stored(bool, "flat", False)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    collapsedHeight = stored(int, "collapsedHeight", 14)

    def __init__(self, *arguments: Any) -> None:
        if any(isinstance(one, str) for one in arguments):
            raise ValueError(f"Could not find matching overload for given arguments {arguments}: set .text afterwards.")
        super().__init__(*arguments)
        self._collapsed, self._forcing, self._made, self._watched = False, False, False, []
        self._highest = self.maximumHeight
        self.setCheckable(True)
        self.setChecked(True)
        self.setFocusPolicy(QtCore.Qt.StrongFocus)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._titleHeight(), 0, 0)
        self.toggled.connect(lambda on: self.setCollapsed(not on))

    def _titleHeight(self) -> int:
        return max(TITLE_HEIGHT, self.fontMetrics().height() + 8)

    def setCollapsed(self, collapsed: bool) -> None:
        """Fold or unfold, and tell by contentsCollapsed(bool)."""
        if bool(collapsed) == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        if self._collapsed:
            self._highest = self.maximumHeight
            self.setMaximumHeight(self.sizeHint().height())
        else:
            self.setMaximumHeight(self._highest)
        self._fold()
        self.setChecked(not self._collapsed)
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(self._collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)

    def _watch(self) -> None:
        """Follow new children; once they are whole, which they are not yet when ChildAdded tells of them."""
        for child in self.children():
            if child.isWidgetType() and child not in self._watched:
                self._watched.append(child)
                if child.testAttribute(QtCore.Qt.WA_WState_ExplicitShowHide) and child.isHidden():
                    child.setProperty(SHOWN, False)
                child.installEventFilter(self)
                self._place(child)

    def _fold(self) -> None:
        self._watch()
        for child in self.children():
            if child.isWidgetType():
                self._place(child)

    def _place(self, child: QtWidgets.QWidget) -> None:
        if not self.testAttribute(QtCore.Qt.WA_WState_Created):
            return
        hidden = child.property(SHOWN) is False
        visible = not self._collapsed and not hidden
        self._forcing = True
        if child.testAttribute(QtCore.Qt.WA_WState_Created) or not visible:
            child.setVisible(visible)
        if not hidden:
            child.setAttribute(QtCore.Qt.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def setVisible(self, visible: bool) -> None:
        """Show or hide; the first time also its children, by what was asked of them."""
        self._watch()
        self._forcing = True
        super().setVisible(visible)
        self._forcing = False
        if not self._made and self.testAttribute(QtCore.Qt.WA_WState_Created):
            self._made = True
            self._fold()

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """A child that somebody shows is hidden again while the section is folded."""
        kinds = {QtCore.QEvent.ShowToParent: True, QtCore.QEvent.HideToParent: False}
        if event.type() in kinds and not self._forcing:
            child.setProperty(SHOWN, kinds[event.type()])
            if kinds[event.type()]:
                self._place(child)
        return False

    def event(self, event: QtCore.QEvent) -> bool:
        """Follow new children, and letters of another size."""
        kinds = (QtCore.QEvent.Show, QtCore.QEvent.LayoutRequest, QtCore.QEvent.Polish, QtCore.QEvent.ChildPolished)
        if event.type() in kinds and "_watched" in self.__dict__:
            self._watch()
        if event.type() in (QtCore.QEvent.FontChange, QtCore.QEvent.StyleChange) and "_watched" in self.__dict__:
            self.setContentsMargins(0, self._titleHeight(), 0, 0)
            if self._collapsed:
                self.setMaximumHeight(self.sizeHint().height())
        return super().event(event)

    def sizeHint(self) -> QtCore.QSize:
        """The title's size, and the contents' below it."""
        return self._hint(minimum=False)

    def minimumSizeHint(self) -> QtCore.QSize:
        """The least that shows the title and the contents."""
        return self._hint(minimum=True)

    def _hint(self, minimum: bool) -> QtCore.QSize:
        title = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 34, self._titleHeight())
        if self._collapsed:
            return title + QtCore.QSize(0, self.collapsedHeight)
        if self.layout() is None:
            return title
        inner = self.layout().minimumSize() if minimum else self.layout().sizeHint()
        return QtCore.QSize(max(inner.width(), title.width()), inner.height() + title.height())

    def hasHeightForWidth(self) -> bool:
        """Wrapped labels inside need it."""
        return not self._collapsed and self.layout() is not None and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        """Of the contents, with the title."""
        if not self.hasHeightForWidth():
            return self.sizeHint().height()
        return self.layout().heightForWidth(width) + self._titleHeight()

    def hitButton(self, place: QtCore.QPoint) -> bool:
        """Only the title is the button."""
        return place.y() < self._titleHeight()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """The title bar with its arrow, and a frame around the contents."""
        painter = QtGui.QPainter(self)
        palette = self.palette
        title = QtCore.QRect(0, 0, self.width - 1, self._titleHeight() - 2)
        painter.setPen(palette.color(QtGui.QPalette.Mid))
        if not self._collapsed:
            painter.drawRect(0, 0, self.width - 1, self.height - 1)
        painter.setBrush(palette.color(QtGui.QPalette.Button).darker(106))
        painter.drawRect(title)
        middle = title.height() // 2
        corners = ((9, -5), (9, 5), (15, 0)) if self._collapsed else ((7, -3), (17, -3), (12, 4))
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(palette.color(QtGui.QPalette.ButtonText))
        painter.drawPolygon([QtCore.QPoint(x, middle + y) for x, y in corners])
        painter.setPen(palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(title.adjusted(24, 0, 0, 0), int(QtCore.Qt.AlignVCenter), self.text)
        painter.end()


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box of numbers, inside a widget of its own as in ctk."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()
    CPP_SIGNALS: ClassVar = {"valueChanged(double)": "valueChanged", "decimalsChanged(int)": "decimalsChanged"}
    value = forwarded(float, "_box", "value")
    minimum = forwarded(float, "_box", "minimum")
    maximum = forwarded(float, "_box", "maximum")
    singleStep = forwarded(float, "_box", "singleStep")
    decimals = forwarded(int, "_box", "decimals")
    suffix = forwarded(str, "_box", "suffix")
    prefix = forwarded(str, "_box", "prefix")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        row(self, self._box)
        self.setFocusProxy(self._box)
        self._box.valueChanged.connect(self.valueChanged.emit)
        self._box.editingFinished.connect(self.editingFinished.emit)

    def setValue(self, value: float) -> None:
        """Set the value, clamped to the range."""
        self._box.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        """Set minimum and maximum."""
        self._box.setRange(low, high)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box, for numbers."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    CPP_SIGNALS: ClassVar = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}
    STEPS = 1000
    value = forwarded(float, "_box", "value")
    singleStep = forwarded(float, "_box", "singleStep")
    decimals = forwarded(int, "_box", "decimals")
    suffix = forwarded(str, "_box", "suffix")
    prefix = forwarded(str, "_box", "prefix")
    pageStep = stored(float, "pageStep", 10.0)
    tracking = stored(bool, "tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._slider.setObjectName("Slider")
        self._slider.setRange(0, self.STEPS)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setObjectName("SpinBox")
        self._box.setRange(0.0, 99.99)
        row(self, self._slider, self._box)
        self._box.valueChanged.connect(self._onBox)
        self._slider.valueChanged.connect(self._onSlider)

    def _onBox(self, value: float) -> None:
        self._moveSlider()
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _moveSlider(self) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._slider.blockSignals(True)
        self._slider.value = round(self.STEPS * (self._box.value - low) / ((high - low) or 1.0))
        self._slider.blockSignals(False)

    def _onSlider(self, place: int) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._box.value = low + (high - low) * place / self.STEPS

    def setValue(self, value: float) -> None:
        """Set the value, clamped to the range."""
        self._box.setValue(value)

    def _setRange(self, low: float, high: float) -> None:  # no slot in ctk, so not there in Python
        self._box.setRange(low, high)
        self._moveSlider()

    minimum = Property(float, lambda self: self._box.minimum, lambda self, end: self._setRange(end, self._box.maximum))
    maximum = Property(float, lambda self: self._box.maximum, lambda self, end: self._setRange(self._box.minimum, end))


class ctkRangeWidget(QtWidgets.QWidget):
    """Two numbers, the lower never above the upper."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    CPP_SIGNALS: ClassVar = {
        "valuesChanged(double,double)": "valuesChanged",
        "minimumValueChanged(double)": "minimumValueChanged",
        "maximumValueChanged(double)": "maximumValueChanged",
    }
    minimumValue = forwarded(float, "_low", "value")
    maximumValue = forwarded(float, "_high", "value")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low, self._high = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        row(self, self._low, self._high)
        self._low.valueChanged.connect(lambda value: self._onChange(self._low, value))
        self._high.valueChanged.connect(lambda value: self._onChange(self._high, value))
        self.setRange(0.0, 99.0)
        self.setValues(0.0, 99.0)

    def _onChange(self, box: Any, value: float) -> None:
        if self._low.value > self._high.value:
            other = self._high if box is self._low else self._low
            other.value = value
            return
        signal = self.minimumValueChanged if box is self._low else self.maximumValueChanged
        signal.emit(value)
        self.valuesChanged.emit(self._low.value, self._high.value)

    def setValues(self, low: float, high: float) -> None:
        """Set both numbers."""
        self._low.value = min(low, high)
        self._high.value = max(low, high)
        self._low.value = min(low, high)

    def setRange(self, low: float, high: float) -> None:
        """Set the bounds of both numbers."""
        for box in (self._low, self._high):
            box.setRange(low, high)

    def _both(kind: Any, name: str) -> Property:
        def write(self: Any, new: Any) -> None:
            for box in (self._low, self._high):
                setattr(box, name, new)

        return Property(kind, lambda self: getattr(self._low, name), write)

    minimum, maximum = _both(float, "minimum"), _both(float, "maximum")
    singleStep, decimals = _both(float, "singleStep"), _both(int, "decimals")
    suffix, prefix = _both(str, "suffix"), _both(str, "prefix")


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path, typed or chosen from the disk.

    A text that is empty or does not end as its name filters say is invalid, and no currentPathChanged tells of it; only
    the inner line's textChanged does. Whether there is such a file is not looked at.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    CPP_SIGNALS: ClassVar = {
        "currentPathChanged(QString)": "currentPathChanged",
        "validInputChanged(bool)": "validInputChanged",
    }
    Dirs, Files, Readable, Writable = 0x1, 0x2, 0x10, 0x20
    filters = stored(int, "filters", Files | Readable)
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "")
    label = stored(str, "label", "")
    showBrowseButton = forwarded(bool, "_button", "visible")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit: Any = self._history()
        self._button, self._valid = QtWidgets.QToolButton(self), False
        self._button.setText("...")
        row(self, self._edit, self._button)
        self._button.clicked.connect(lambda: self.browse())

    def _history(self) -> QtWidgets.QComboBox:
        """The line with a list of former paths."""
        edit = QtWidgets.QComboBox(self)
        edit.setObjectName("comboBox")
        edit.setEditable(True)
        edit.setMinimumContentsLength(8)
        edit.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        edit.lineEdit().textChanged.connect(self._onText)
        return edit

    def _line(self) -> QtWidgets.QLineEdit:
        """The line alone."""
        edit = QtWidgets.QLineEdit(self)
        edit.textChanged.connect(self._onText)
        return edit

    def setShowHistoryButton(self, shown: bool) -> None:
        """Show the list or not; the line that was there is destroyed, as the C++ class does."""
        old, path = self._edit, self.currentPath
        if shown == isinstance(old, QtWidgets.QComboBox):
            return
        self._edit = self._history() if shown else self._line()
        self.layout().replaceWidget(old, self._edit)
        shiboken6.delete(old)
        self.setCurrentPath(path)

    showHistoryButton = Property(bool, lambda self: isinstance(self._edit, QtWidgets.QComboBox), setShowHistoryButton)

    def _acceptable(self, path: str) -> bool:
        endings = [ending for one in self.nameFilters for ending in re.findall(r"\*\.(\w+)", one)]
        # The last letter may be missing, as in the regular expression that the C++ class makes.
        pattern = "|".join(rf".*\.{ending}?" for ending in endings) or ".+"
        return re.fullmatch(pattern, path) is not None

    def _onText(self, path: str) -> None:
        before, self._valid = self._valid, self._acceptable(path)
        if self._valid:
            self.currentPathChanged.emit(path)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def browse(self) -> None:
        """Let the user choose from the disk."""
        dialog, title = QtWidgets.QFileDialog, self.label or "Select a file"
        if self.filters & self.Dirs:
            path = dialog.getExistingDirectory(self, title, self.currentPath)
        else:
            path = dialog.getOpenFileName(self, title, self.currentPath, ";;".join(self.nameFilters))
        if path:
            self.setCurrentPath(path)

    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        edit = self._edit
        (edit.setEditText if isinstance(edit, QtWidgets.QComboBox) else edit.setText)(path)

    def addCurrentPathToHistory(self) -> None:
        """Offer the path again in the list, where there is one."""
        if isinstance(self._edit, QtWidgets.QComboBox) and self._edit.findText(self.currentPath) < 0:
            self._edit.addItem(self.currentPath)

    def _path(self) -> str:
        return self._edit.currentText if isinstance(self._edit, QtWidgets.QComboBox) else self._edit.text

    currentPath = Property(str, _path, setCurrentPath)


class ctkDirectoryButton(QtWidgets.QPushButton):
    """A button that shows a folder and lets the user choose another."""

    directoryChanged = Signal(str)
    CPP_SIGNALS: ClassVar = {"directoryChanged(QString)": "directoryChanged"}
    caption = stored(str, "caption", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = "."
        self.clicked.connect(lambda: self.browse())

    def browse(self) -> None:
        """Let the user choose a folder."""
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption or "Select a folder", self._directory)
        if chosen:
            self.setDirectory(chosen)

    def setDirectory(self, directory: str) -> None:
        """Set the folder."""
        if directory != self._directory:
            self._directory = directory
            self.setText(directory)
            self.directoryChanged.emit(directory)

    directory = Property(str, lambda self: self._directory, setDirectory)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that the user can ask not to see again."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for no choice."""

    defaultText = stored(str, "defaultText", "")


class ctkCheckBox(QtWidgets.QCheckBox):
    """Qt's check box."""


class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu at its side."""


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser."""


WIDGETS = (
    ctkCollapsibleButton, ctkDoubleSpinBox, ctkSliderWidget, ctkRangeWidget, ctkPathLineEdit, ctkDirectoryButton,
    ctkMessageBox, ctkComboBox, ctkCheckBox, ctkMenuButton, ctkFittedTextBrowser,
)  # fmt: skip


def module() -> types.ModuleType:
    """The module `ctk`; a class that is not here raises AttributeError, rather than standing there empty."""
    qtmodules.registerWidgets(*WIDGETS)
    made = types.ModuleType("ctk", "Stand-ins for ctk's widgets")
    for kind in WIDGETS:
        setattr(made, kind.__name__, kind)
    return made

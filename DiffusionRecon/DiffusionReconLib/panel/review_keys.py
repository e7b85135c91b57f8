"""Keys of the review that work while a slice view, or the review itself, has the keyboard."""

from __future__ import annotations

from typing import Any

import qt
import slicer

# Slicer's slice views take these keys: the arrows, F and B (through the slices), G (segments and labels), T (the
# foreground), V (the slice in 3D), R (the whole field of view), [ ] { } (other volumes), and on markups S, Delete,
# Backspace, Escape and Enter. Its main window takes none of a single letter or figure; the segment editor takes the
# figures, while it is open itself.
KEYS = {"N": "nextButton", "P": "previousButton", "1": "trustButton", "2": "doubtButton", "3": "rescanButton"}
VIEW_CLASS = "qMRMLSliceWidget"
# Boxes that take typed text; the inner ones of spin boxes and editable combo boxes are among them.
TEXT_CLASSES = ("QLineEdit", "QTextEdit", "QPlainTextEdit")


class ReviewKeys:
    """Presses the buttons of KEYS. Qt gives the keys out only while `page`, and with it the module, is on show."""

    def __init__(self, ui: Any, page: Any, section: Any) -> None:
        self._section = section.objectName
        self._shortcuts = []
        for key, button in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), page)
            # Slice views may lie in windows of their own.
            shortcut.setContext(qt.Qt.ApplicationShortcut)
            shortcut.setAutoRepeat(False)
            shortcut.setEnabled(False)
            shortcut.connect("activated()", getattr(ui, button).click)
            self._shortcuts.append(shortcut)
        slicer.app.connect("focusChanged(QWidget*,QWidget*)", self._focusChanged)

    def close(self) -> None:
        """Follow the keyboard no longer."""
        slicer.app.disconnect("focusChanged(QWidget*,QWidget*)", self._focusChanged)

    def _focusChanged(self, _before: Any, now: Any) -> None:
        """Everywhere else the keys go their own way, and into a text they are text."""
        ours = now is not None and now.className() not in TEXT_CLASSES and self._isOurs(now)
        for shortcut in self._shortcuts:
            shortcut.setEnabled(ours)

    def _isOurs(self, widget: Any) -> bool:
        while widget is not None:
            if widget.objectName == self._section or widget.className() == VIEW_CLASS:
                return True
            widget = widget.parentWidget()
        return False

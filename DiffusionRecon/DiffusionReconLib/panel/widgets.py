"""A table that fits a narrow panel, with rows as high as their text; buttons of which the active one is marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

NARROWEST = 260
"""Width in pixels that a button has at the least where it takes a whole row."""


class FittedTable:
    """Makes a QTableWidget as high as its rows, or as `mostLines` lines of text; texts go on in a next line.

    `stretched` is the column that takes the room which the others leave; `narrow`: a text by its column, which is as
    wide as that needs in one line.
    """

    def __init__(
        self, table: Any, columns: Sequence[str], stretched: int, narrow: dict[int, str] | None = None,
        mostLines: int | None = None,
    ) -> None:
        self._table, self._mostLines = table, mostLines
        self._byContent = [each for each in range(len(columns)) if each != stretched and each not in (narrow or {})]
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(list(columns))
        table.verticalHeader().setVisible(False)
        table.setWordWrap(True)
        if mostLines is None:  # a bar that comes and goes would change the widths
            table.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        for column in range(len(columns)):
            mode = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.Fixed
            header.setSectionResizeMode(column, mode)
        for column, text in (narrow or {}).items():
            metrics = table.fontMetrics()
            table.setColumnWidth(column, metrics.horizontalAdvance(text) + metrics.height())
        # Columns follow the panel's width one after the other: the rows follow once all have. The timer is the table's
        # own child and ends with it.
        self._timer = qt.QTimer(table)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self.fit)
        header.connect("sectionResized(int,int,int)", self._resized)

    def fill(self, rows: Sequence[tuple[Sequence[str], str]]) -> None:
        """Show rows, each its texts and one tooltip."""
        self._table.setRowCount(len(rows))
        for row, (texts, tip) in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip)
                self._table.setItem(row, column, item)
        self.fit()

    def fit(self) -> None:
        """Make rows as high as their texts, and the table as high as its rows."""
        table = self._table
        if not table.rowCount:
            return
        for column in self._byContent:
            table.resizeColumnToContents(column)
        table.resizeRowsToContents()
        rows = sum(table.rowHeight(row) for row in range(table.rowCount))
        if self._mostLines is not None:
            rows = min(rows, self._mostLines * table.fontMetrics().lineSpacing())
        height = table.horizontalHeader().sizeHint.height() + rows + 2 * table.frameWidth
        if table.minimumHeight != height:
            table.setFixedHeight(height)

    def _resized(self, *_section: Any) -> None:
        self._timer.start()


def markButton(button: Any, active: bool) -> None:
    """Press a checkable button down or not, whatever Qt made of the click; on dark styles that alone is hardly seen."""
    style = "font-weight: bold; border: 2px solid palette(highlight); border-radius: 3px; padding: 3px;"
    button.checked = active
    button.setStyleSheet(style if active else "")


def breakText(button: Any) -> None:
    """Put a button's text into two lines where large letters make it wider than a narrow panel."""
    text = button.text
    spaces = [at for at, letter in enumerate(text) if letter == " "]
    if spaces and button.sizeHint.width() > NARROWEST:
        middle = min(spaces, key=lambda at: abs(2 * at - len(text)))
        button.text = f"{text[:middle]}\n{text[middle + 1:]}"

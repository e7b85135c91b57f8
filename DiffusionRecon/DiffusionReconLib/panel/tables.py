"""Tables that fit a narrow panel: rows as high as their text, the whole as high as its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


def prepareTable(table: Any, columns: Sequence[str], stretched: int) -> None:
    """Give a table its columns, of which one takes the room that the others leave; texts go on in a next line."""
    table.setColumnCount(len(columns))
    table.setHorizontalHeaderLabels(list(columns))
    table.verticalHeader().setVisible(False)
    table.setWordWrap(True)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    for column in range(len(columns)):
        mode = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)


def fillRow(table: Any, row: int, texts: Sequence[str], tip: str) -> None:
    """Show these texts in a row, all with one tooltip."""
    for column, text in enumerate(texts):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(tip)
        table.setItem(row, column, item)


def fitTable(table: Any, mostLines: int | None = None) -> None:
    """Make rows as high as their texts, and the table as high as its rows, or as this many lines of text."""
    table.resizeRowsToContents()
    rows = sum(table.rowHeight(row) for row in range(table.rowCount))
    if mostLines is not None:
        rows = min(rows, mostLines * table.fontMetrics().lineSpacing())
    height = table.horizontalHeader().sizeHint.height() + rows + 2 * table.frameWidth
    if table.height != height or table.minimumHeight != height:
        table.setFixedHeight(height)

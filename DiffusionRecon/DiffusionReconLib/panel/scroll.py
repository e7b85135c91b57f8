"""Scrolling the panel to a section that opened below what is visible."""

from __future__ import annotations

import logging
from typing import Any

import qt

SETTLED_MILLISECONDS = 100
"""Until a section that has just opened has its place and its size."""


def scrollAreaAbove(widget: Any) -> Any | None:
    """The scroll area that a widget lies in, however deep; None without one."""
    while widget is not None:
        if hasattr(widget, "ensureWidgetVisible"):
            return widget
        widget = widget.parentWidget()
    return None


def scrollTo(widget: Any) -> None:
    """Show a section, once it has its place: all of it, or its top where there is not room enough."""
    area = scrollAreaAbove(widget)
    if area is not None:
        qt.QTimer.singleShot(SETTLED_MILLISECONDS, lambda: _show(area, widget))


def _show(area: Any, widget: Any) -> None:
    try:
        area.ensureWidgetVisible(widget, 0, 0)
        bar, top = area.verticalScrollBar(), widget.mapTo(area.widget(), qt.QPoint(0, 0)).y()
        if bar.value > top:
            bar.value = top
    except (RuntimeError, ValueError):  # both say that a widget is no more
        logging.debug("The panel went away before it scrolled", exc_info=True)

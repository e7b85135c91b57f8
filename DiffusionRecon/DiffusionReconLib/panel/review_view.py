"""The review's tab View: one press for each look at a result, the active one marked; the segments and their spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.panel.lazily import Lazily
from DiffusionReconLib.panel.part import setText
from DiffusionReconLib.panel.widgets import FittedTable, breakText, markButton

results, review, words = Lazily("scene.results"), Lazily("review.findings"), Lazily("review.words")
comparison = Lazily("scene.comparison")
COMPARE = "compareButton"


class ViewTab:
    """Shows the result of `part`, a ReviewPart."""

    def __init__(self, ui: Any, part: Any) -> None:
        self.ui, self._part = ui, part
        self._draw = 0
        self._look = self._before = ""
        self._segmentsOf: tuple | None = None
        self._looks: dict[str, Callable[[], Any]] = {
            "uncertaintyButton": lambda: results.showUncertainty(part.nodes),
            COMPARE: self._compare,
            "meanButton": lambda: results.showMean(part.nodes),
            "drawsButton": self._showDraw,
            "flickerButton": lambda: results.flicker(part.nodes),
            "differenceButton": lambda: results.showDifference(part.nodes),
            "notSeenButton": lambda: results.showNotSeen(part.nodes),
            "residualButton": lambda: results.showResidual(part.nodes),
            "priorDecidedButton": lambda: results.showPriorDecided(part.nodes),
            "dataDisagreeButton": lambda: results.showDataDisagree(part.nodes),
        }
        for name in self._looks:
            getattr(ui, name).connect("clicked(bool)", self._slot(name))
        for button in (ui.notSeenButton, ui.priorDecidedButton, ui.dataDisagreeButton):
            breakText(button)
        self._table = FittedTable(ui.segmentsTable, (_("Segment"), _("Mean"), _("Volume")), stretched=0)

    def show(self) -> None:
        """Begin with another result, of which nothing is shown yet; without one, nothing can be pressed."""
        self._draw, self._look, self._before = 0, "", ""
        nodes = self._part.nodes
        if nodes:
            comparison.endLostCompare()
        needs = {"uncertaintyButton": {"uncertainty"}, "residualButton": {"residual"},
                 "differenceButton": {"reference"}, "notSeenButton": {"not_seen_share"}, "meanButton": {"mean"},
                 "drawsButton": {"draws"}, "priorDecidedButton": {"prior_decided"},
                 "dataDisagreeButton": {"data_disagree"}}
        for name, keys in needs.items():
            getattr(self.ui, name).enabled = keys <= set(nodes)
        self.ui.flickerButton.enabled = bool(nodes) and results.flickerKeys(nodes) is not None
        self.ui.compareButton.enabled = bool(nodes) and len(comparison.compareKeys(nodes)) > 1
        self._mark()
        self.showSegments()

    def update(self) -> None:
        """Measure the segments again when others were chosen."""
        if self._measured() != self._segmentsOf:
            self.showSegments()

    def showSegments(self) -> None:
        """Measure the chosen segments; without any the table takes no room."""
        nodes, segmentation = self._part.nodes, self._segmentation()
        self._segmentsOf = self._measured()
        rows: tuple = ()
        try:
            rows = review.segmentRows(nodes, segmentation) if self._segmentsOf is not None else ()
        except ValueError as error:
            self._part.say(str(error), True)
        self.ui.segmentsTable.setVisible(bool(rows))
        spread = review.spreadHeading(nodes) if rows else ""
        setText(self.ui.segmentsLabel, _("In brackets: {spread}.").format(spread=spread) if rows else "")
        unit = review.imageUnit(nodes) if rows else ""
        self._table.fill([
            ((each.name, words.intervalWords(each.mean, each.mean_interval, unit),
              words.volumeWords(each.volume_mm3, each.volume_interval_mm3)), each.rule)
            for each in rows
        ])

    def _segmentation(self) -> Any:
        parameters = self._part.parameters
        return None if parameters is None else parameters.segmentation

    def _measured(self) -> tuple | None:
        """Of what the table of segments tells: result, segmentation and how many segments it has; None of nothing."""
        segmentation, nodes = self._segmentation(), self._part.nodes
        if segmentation is None or "mean" not in nodes:
            return None
        return nodes["report"].GetID(), segmentation.GetID(), segmentation.GetSegmentation().GetNumberOfSegments()

    def _slot(self, name: str) -> Callable[[], None]:
        def look() -> None:
            if name != COMPARE and comparison.isCompared():  # its views are labelled: they show nothing else
                comparison.endCompare()
            self._looks[name]()
            if name != COMPARE:
                self._look = name

        press = self._part.pressed(look)

        def slot() -> None:
            press()
            self._mark()

        return slot

    def _mark(self) -> None:
        """Mark the active look's button alone."""
        for name in self._looks:
            markButton(getattr(self.ui, name), bool(self._part.nodes) and name == self._look)

    def _showDraw(self) -> None:
        nodes = self._part.nodes
        results.showDraws(nodes)
        results.selectDraw(nodes, self._draw)
        self._draw = (self._draw + 1) % nodes["draws"].GetNumberOfDataNodes()

    def _compare(self) -> None:
        if comparison.isCompared():
            comparison.endCompare()
            self._look = self._before
        else:
            comparison.compare(self._part.nodes)
            self._before, self._look = self._look, COMPARE

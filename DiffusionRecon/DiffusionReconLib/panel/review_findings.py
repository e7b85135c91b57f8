"""The review's tab Findings: the regions worth a look, a verdict and a comment for each and for the whole."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DiffusionReconLib.panel.lazily import Lazily
from DiffusionReconLib.panel.part import setText
from DiffusionReconLib.panel.review_keys import ReviewKeys
from DiffusionReconLib.panel.widgets import FittedTable, breakText, markButton

review, words = Lazily("review.findings"), Lazily("review.words")
VERDICT_BUTTONS = {"trust": "trustButton", "doubt": "doubtButton", "rescan": "rescanButton"}
MOST_LINES = 14
"""How many lines of text the table is high at the most; more rows are scrolled to."""


class FindingsTab:
    """Lists the findings of the result of `part`, a ReviewPart.

    A comment is written to its finding at every change of its text: whatever comes next, none is lost.
    """

    def __init__(self, ui: Any, part: Any) -> None:
        self.ui, self._part = ui, part
        self._quiet = False
        self._listed: list[Any] = []
        actions = {"findButton": self.find, "previousButton": lambda: self._walk(review.previousFinding),
                   "nextButton": lambda: self._walk(review.nextFinding)}
        for verdict, name in VERDICT_BUTTONS.items():
            actions[name] = lambda verdict=verdict: self._judge(verdict)
        for name, action in actions.items():
            getattr(ui, name).connect("clicked(bool)", part.pressed(action))
        ui.showAllButton.connect("toggled(bool)", self._listAll)
        ui.wholeCheckBox.connect("toggled(bool)", self._targetChanged)
        ui.commentEdit.connect("textChanged(QString)", self._commentChanged)
        columns, narrow = (_("No."), _("Why"), _("Verdict")), {2: _("Needs another")}
        self._table = FittedTable(ui.findingsTable, columns, stretched=1, narrow=narrow, mostLines=MOST_LINES)
        ui.findingsTable.connect("itemSelectionChanged()", self._selected)
        breakText(ui.rescanButton)
        self._keys = ReviewKeys(ui, ui.findingsTab, ui.reviewCollapsibleButton)

    def close(self) -> None:
        """Take no keys any more."""
        self._keys.close()

    def review(self) -> Any:
        """The table node of the result's review, None while regions were not looked for."""
        return review.reviewOf(self._part.nodes) if self._part.nodes else None

    def find(self) -> None:
        """List the regions of the result, named after the chosen segments, and go to the first."""
        slicer.app.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))  # some seconds in a large volume
        try:
            review.makeReview(self._part.nodes, segmentationNode=self._part.parameters.segmentation)
        finally:
            slicer.app.restoreOverrideCursor()
        self.show()
        if self._listed:
            self._walk(review.nextFinding)

    def show(self) -> None:
        """List what the result's review has found, and its current finding."""
        ui, current = self.ui, self.review()
        every = review.findings(current) if current is not None else []
        self._listed = review.listed(current) if current is not None else []
        self._quiet = True
        ui.wholeCheckBox.checked = False
        more = current is not None and len(every) > review.MOST
        ui.showAllButton.setVisible(more)
        ui.showAllButton.checked = more and review.listsAll(current)
        if more:
            kept = _("Show all {n}") if review.foundCount(current) == len(every) else _("Show the first {n}")
            ui.showAllButton.text = kept.format(n=len(every))
        self._table.fill(self._rows(current))
        self._quiet = False
        setText(ui.findingsLabel, "" if current is None else _counted(len(self._listed), review.foundCount(current)))
        for name in ("previousButton", "nextButton"):
            getattr(ui, name).enabled = bool(self._listed)
        ui.findingsTable.setVisible(bool(self._listed))
        ui.findButton.enabled = {"uncertainty", "mean"} <= set(self._part.nodes)
        ui.wholeCheckBox.enabled = current is not None
        self._selectRow()
        self._part.reviewChanged()

    def _rows(self, current: Any) -> list[tuple[tuple[str, ...], str]]:
        if current is None:
            return []
        unit, draws = review.unitOf(current), review.readDraws(current)
        return [
            ((str(each.number), words.reasonWords(each, unit), self._verdictText(current, each)),
             words.detailWords(each, unit, draws))
            for each in self._listed
        ]

    def _listAll(self, every: bool) -> None:
        current = self.review()
        if not self._quiet and current is not None:
            review.listAll(current, bool(every))
            self.show()

    def _walk(self, step: Any) -> None:
        current = self.review()
        if current is not None:
            step(current)
            self._selectRow()

    def _selected(self) -> None:
        current, row = self.review(), self.ui.findingsTable.currentRow()
        if not self._quiet and current is not None and 0 <= row < len(self._listed):
            self._part.pressed(lambda: review.goToFinding(current, self._listed[row].number))()
            self._selectRow()

    def _selectRow(self) -> None:
        """Mark the current finding's row; verdict and comment are about it from now on."""
        current = self.review()
        number = review.currentFinding(current) if current is not None else None
        numbers = [each.number for each in self._listed]
        self._quiet = True
        self.ui.wholeCheckBox.checked = False
        if number in numbers:
            self.ui.findingsTable.selectRow(numbers.index(number))
        else:
            self.ui.findingsTable.clearSelection()
        self._quiet = False
        self._targetChanged()

    def _target(self) -> tuple[Any, int | None] | None:
        """The review and the finding's number, None for the whole, that verdict and comment are about."""
        current = self.review()
        if current is None:
            return None
        if self.ui.wholeCheckBox.checked:
            return current, None
        number = review.currentFinding(current)
        return (current, number) if number is not None else None

    def _targetChanged(self, *_checked: Any) -> None:
        """Show verdict, comment and details of what they are about now."""
        if self._quiet:
            return
        target, ui = self._target(), self.ui
        entry = review.verdict(*target) if target is not None else None
        self._quiet = True
        ui.commentEdit.text = entry.comment if entry is not None else ""
        self._quiet = False
        ui.commentEdit.enabled = entry is not None
        for verdict, name in VERDICT_BUTTONS.items():
            button = getattr(ui, name)
            button.enabled = entry is not None
            markButton(button, entry is not None and entry.verdict == verdict)
        finding = None if target is None else next((each for each in self._listed if each.number == target[1]), None)
        details = "" if finding is None else words.detailWords(
            finding, review.unitOf(target[0]), review.readDraws(target[0]))
        setText(ui.detailLabel, details)

    def _commentChanged(self, *_text: Any) -> None:
        target = self._target()
        if self._quiet or target is None:
            return
        review.setVerdict(*target, review.verdict(*target).verdict, self.ui.commentEdit.text, _reviewer())

    def _judge(self, verdict: str) -> None:
        target = self._target()
        if target is None:
            raise ValueError(_("Go to a finding first, or tick the verdict on the whole result."))
        current, number = target
        review.setVerdict(current, number, verdict, self.ui.commentEdit.text, _reviewer())
        for row, finding in enumerate(self._listed):
            if finding.number == number:
                self.ui.findingsTable.item(row, 2).setText(self._verdictText(current, finding))
        self._table.fit()
        self._targetChanged()
        text = words.verdictWords(verdict)
        if number is None:
            self._part.say(_("The whole result: {verdict}").format(verdict=text))
        else:
            self._part.say(_("Finding {n}: {verdict}").format(n=number, verdict=text))

    def _verdictText(self, current: Any, finding: Any) -> str:
        return str(words.verdictWords(review.verdict(current, finding.number).verdict))


def _counted(listed: int, every: int) -> str:
    if not every:
        return _("No region has a spread that could change a reading. That does not exclude one: see the lines above.")
    if listed < every:
        return _("{listed} of {every} regions, those most worth a look first.").format(listed=listed, every=every)
    return _("{every} regions, those most worth a look first.").format(every=every)


def _reviewer() -> str:
    """The name of Slicer's current user, "" where none is known."""
    information = getattr(slicer.app, "applicationLogic", lambda: None)()
    user = information.GetUserInformation() if hasattr(information, "GetUserInformation") else None
    return (user.GetName() or "") if user is not None else ""

"""Review: the banner, one press for each look at a result, findings with verdicts, segments, export."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from html import escape
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DiffusionReconLib.panel.part import Choices, Part, setText, tipOf
from DiffusionReconLib.panel.tones import toneColour

# {spread}: what the brackets hold differs from result to result.
FINDING_COLUMNS = (_("Verdict"), _("R, A, S (mm)"), _("Mean [{spread}]"), _("Not seen"), _("Volume"), _("Segment"))
SEGMENT_COLUMNS = (_("Segment"), _("Mean [{spread}]"), _("Volume [{spread}]"))
KEYS = {"F": "findButton", "N": "nextButton", "P": "previousButton", "1": "trustButton", "2": "doubtButton",
        "3": "rescanButton"}
CUBIC_CM = 1000.0


class _Lazily:
    """A module of this package that is imported at its first use: those of the review take a while."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(f"DiffusionReconLib.{self._name}"), attribute)


results, review, exports = _Lazily("scene.results"), _Lazily("review.findings"), _Lazily("panel.export")


class ReviewPart(Part):
    """The section Review of the chosen result."""

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self._result = Choices(ui.resultComboBox, lambda name: self.store("resultID", name))
        self._shownResult: str | None = None
        self._nodes: dict[str, Any] = {}
        self._draw = 0
        self._comparing = False
        self._quiet = False
        self._segmentsOf: tuple | None = None
        self._reportTip = tipOf(ui.exportReportButton)
        looks: dict[str, Callable[[], Any]] = {
            "meanButton": lambda: results.showMean(self._nodes),
            "uncertaintyButton": lambda: results.showUncertainty(self._nodes),
            "notSeenButton": lambda: results.showNotSeen(self._nodes),
            "residualButton": lambda: results.showResidual(self._nodes),
            "drawsButton": self._showDraw,
            "compareButton": self._compare,
            "flickerButton": lambda: results.flicker(self._nodes),
            "differenceButton": lambda: results.showDifference(self._nodes),
            "findButton": self.find,
            "previousButton": lambda: self._walk(review.previousFinding),
            "nextButton": lambda: self._walk(review.nextFinding),
            "trustButton": lambda: self._judge("trust"),
            "doubtButton": lambda: self._judge("doubt"),
            "rescanButton": lambda: self._judge("rescan"),
            "exportHtmlButton": lambda: self._say(exports.exportReview(self._review(), "html")),
            "exportCsvButton": lambda: self._say(exports.exportReview(self._review(), "csv")),
            "exportJsonButton": lambda: self._say(exports.exportReview(self._review(), "json")),
            "exportReportButton": lambda: self._say(exports.exportReport(self._review(), self._nodes)),
            "exportDicomButton": lambda: self._say(exports.exportDicom(self._nodes)),
        }
        for name, action in looks.items():
            getattr(ui, name).connect("clicked(bool)", self._pressed(action))
        ui.findingsTable.connect("itemSelectionChanged()", self._selected)
        self._shortcuts = []
        for key, button in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), ui.reviewCollapsibleButton)
            shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
            shortcut.connect("activated()", getattr(ui, button).click)
            self._shortcuts.append(shortcut)
        for table, columns in ((ui.findingsTable, FINDING_COLUMNS), (ui.segmentsTable, SEGMENT_COLUMNS)):
            table.setColumnCount(len(columns))
            _setHeadings(table, columns, _("spread"))
            table.verticalHeader().setVisible(False)

    def show(self, nodes: dict[str, Any]) -> None:
        """Review this result from now on, and open the section."""
        self.store("resultID", nodes["report"].GetID())
        self._shownResult = None
        self.ui.reviewCollapsibleButton.collapsed = False
        self.update()

    def update(self) -> None:
        """Show the results of the scene, and of the chosen one its banner, findings and segments."""
        # Before the first result there is no text node at all, and nothing to import for it.
        reports = results.resultReports() if slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTextNode") else []
        self._result.fill((node.GetID(), node.GetName()) for node in reports)
        wanted = self.parameters.resultID
        known = [node.GetID() for node in reports]
        current = wanted if wanted in known else (known[-1] if known else "")
        self._result.show(current)
        self.ui.reviewCollapsibleButton.enabled = bool(known)
        if current != self._shownResult:
            self._shownResult = current
            self._nodes = results.resultNodes(slicer.mrmlScene.GetNodeByID(current)) if current else {}
            self._draw, self._comparing = 0, False
            self._showResult()
        elif self._measured() != self._segmentsOf:
            self._showSegments()

    def find(self) -> None:
        """List the uncertain regions of the result, named after the chosen segments."""
        review.makeReview(self._nodes, segmentationNode=self.parameters.segmentation)
        self._showFindings()
        self._showSegments()

    def sceneClosing(self) -> None:
        """The nodes go away."""
        self._shownResult, self._nodes, self._segmentsOf = None, {}, None
        for table in (self.ui.findingsTable, self.ui.segmentsTable):
            table.setRowCount(0)

    def _pressed(self, action: Callable[[], Any]) -> Callable[[], None]:
        """A button's slot: an action on the current result, whose ValueError goes to the section's line."""

        def slot() -> None:
            if not self._nodes:
                return
            try:
                setText(self.ui.verdictLabel, "")
                action()
            except (ValueError, RuntimeError, OSError) as error:
                setText(self.ui.verdictLabel, str(error), True)

        return slot

    def _say(self, text: str) -> None:
        setText(self.ui.verdictLabel, text)

    def _showResult(self) -> None:
        if not self._nodes:
            setText(self.ui.bannerLabel, "")
            for table in (self.ui.findingsTable, self.ui.segmentsTable):
                table.setRowCount(0)
            return
        lines = review.banner(results.resultReport(self._nodes))
        setText(self.ui.bannerLabel, "<br>".join(
            f'<span style="color: {toneColour(self.ui.bannerLabel, line.state)}">{escape(line.text)}</span>'
            for line in lines))
        has = {"uncertaintyButton": "uncertainty", "residualButton": "residual", "differenceButton": "reference"}
        for name, key in has.items():
            getattr(self.ui, name).enabled = key in self._nodes
        self.ui.notSeenButton.enabled = bool({"not_seen", "not_seen_share"} & set(self._nodes))
        self.ui.drawsButton.enabled = bool({"draws", "draw_1"} & set(self._nodes))
        self.ui.findButton.enabled = "uncertainty" in self._nodes
        self.ui.meanButton.enabled = "mean" in self._nodes
        self._showFindings()
        self._showSegments()

    def _review(self) -> Any:
        return review.reviewOf(self._nodes) if self._nodes else None

    def _showFindings(self) -> None:
        table, current = self.ui.findingsTable, self._review()
        found = review.findings(current) if current is not None else []
        self._quiet = True
        if self._nodes:
            _setHeadings(table, FINDING_COLUMNS, review.spreadHeading(self._nodes))
        table.setRowCount(len(found))
        for row, finding in enumerate(found):
            for column, text in enumerate(self._findingTexts(current, finding)):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        self._quiet = False
        for name in ("previousButton", "nextButton", "trustButton", "doubtButton", "rescanButton", "wholeCheckBox",
                     "commentEdit", "exportHtmlButton", "exportCsvButton", "exportJsonButton"):
            getattr(self.ui, name).enabled = current is not None
        able = exports.canExportReport()
        self.ui.exportReportButton.enabled = able and current is not None
        self.ui.exportReportButton.toolTip = self._reportTip if able else exports.NO_HIGHDICOM
        self.ui.exportDicomButton.enabled = "mean" in self._nodes
        if current is not None and not found:
            setText(self.ui.verdictLabel, _("No region is as uncertain as that."))

    def _findingTexts(self, current: Any, finding: Any) -> list[str]:
        low, high = finding.interval
        share = finding.not_seen_share
        return [
            review.verdict(current, finding.number).verdict,
            ", ".join(f"{value:.0f}" for value in finding.peak_ras_mm),
            f"{finding.mean_value:.0f} [{low:.0f}, {high:.0f}]",
            "" if share is None else f"{100 * share:.0f} %",
            f"{finding.volume_mm3 / CUBIC_CM:.2f} cm³",
            finding.segment or "",
        ]

    def _selected(self) -> None:
        current, row = self._review(), self.ui.findingsTable.currentRow()
        if not self._quiet and current is not None and row >= 0:
            review.goToFinding(current, review.findings(current)[row].number)

    def _walk(self, step: Callable[[Any], Any]) -> None:
        current = self._review()
        finding = step(current) if current is not None else None
        if finding is not None:
            numbers = [each.number for each in review.findings(current)]
            self._quiet = True
            self.ui.findingsTable.selectRow(numbers.index(finding.number))
            self._quiet = False

    def _judge(self, verdict: str) -> None:
        current = self._review()
        if current is None:
            return
        whole = self.ui.wholeCheckBox.checked
        number = None if whole else review.currentFinding(current)
        if number is None and not whole:
            raise ValueError(_("Go to a finding first, or tick the verdict on the whole result."))
        review.setVerdict(current, number, verdict, self.ui.commentEdit.text, _reviewer())
        self.ui.commentEdit.text = ""
        row = self.ui.findingsTable.currentRow()
        self._showFindings()
        if row >= 0:
            self._quiet = True
            self.ui.findingsTable.selectRow(row)
            self._quiet = False
        about = _("the whole result") if whole else _("finding {n}").format(n=number)
        setText(self.ui.verdictLabel, _("{about}: {verdict}").format(about=about, verdict=verdict))

    def _measured(self) -> tuple | None:
        """Of what the table of segments tells: result, segmentation and how many segments it has; None of nothing."""
        segmentation = self.parameters.segmentation
        if segmentation is None or "mean" not in self._nodes:
            return None
        return self._shownResult, segmentation.GetID(), segmentation.GetSegmentation().GetNumberOfSegments()

    def _showSegments(self) -> None:
        table, segmentation = self.ui.segmentsTable, self.parameters.segmentation
        self._segmentsOf = self._measured()
        measured = self._segmentsOf is not None
        try:
            rows = review.segmentRows(self._nodes, segmentation) if measured else ()
            if rows:
                _setHeadings(table, SEGMENT_COLUMNS, review.spreadHeading(self._nodes))
        except ValueError as error:
            rows = ()
            setText(self.ui.verdictLabel, str(error), True)
        table.setVisible(bool(rows))
        table.setRowCount(len(rows))
        for row, segment in enumerate(rows):
            bounds = segment.volume_interval_mm3
            volume = None if bounds is None else [value / CUBIC_CM for value in bounds]
            texts = (segment.name, _withInterval(segment.mean, segment.mean_interval, "{:.0f}", ""),
                     _withInterval(segment.volume_mm3 / CUBIC_CM, volume, "{:.1f}", " cm³"))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(segment.rule)
                table.setItem(row, column, item)
        table.resizeColumnsToContents()

    def _showDraw(self) -> None:
        results.showDraws(self._nodes)
        results.selectDraw(self._nodes, self._draw)
        self._draw += 1
        if self._draw >= results.resultReport(self._nodes)["draws"]:
            self._draw = 0

    def _compare(self) -> None:
        if self._comparing:
            results.endCompare()
        else:
            results.compare(self._nodes)
        self._comparing = not self._comparing


def _setHeadings(table: Any, columns: tuple[str, ...], spread: str) -> None:
    table.setHorizontalHeaderLabels([column.format(spread=spread) for column in columns])


def _withInterval(value: float | None, interval: Any, form: str, unit: str) -> str:
    if value is None:
        return ""
    text = form.format(value)
    if interval is not None:
        text += f" [{form.format(interval[0])}, {form.format(interval[1])}]"
    return text + unit


def _reviewer() -> str:
    """The name of Slicer's current user, "" where none is known."""
    information = getattr(slicer.app, "applicationLogic", lambda: None)()
    user = information.GetUserInformation() if hasattr(information, "GetUserInformation") else None
    return (user.GetName() or "") if user is not None else ""

"""Review: the banner of a result, and its three tabs: looks at it, findings with verdicts, export."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import slicer
import slicer.util

from DiffusionReconLib.jobs.failures import sentenceOf
from DiffusionReconLib.panel.lazily import Lazily
from DiffusionReconLib.panel.part import Choices, Part, namedWidgets, setText, tipOf
from DiffusionReconLib.panel.review_findings import FindingsTab
from DiffusionReconLib.panel.review_view import ViewTab
from DiffusionReconLib.panel.tones import toneColour

UI_FILE = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "Review.ui"
TABS = ("view", "findings", "export")
results, review, exports = Lazily("scene.results"), Lazily("review.findings"), Lazily("panel.export")
comparison = Lazily("scene.comparison")


class ReviewPart(Part):
    """The section Review of the chosen result, whose nodes by key are `nodes`, {} without one."""

    def __init__(self, ui: Any) -> None:
        _place(ui)
        super().__init__(ui)
        self._result = Choices(ui.resultComboBox, lambda name: self.store("resultID", name))
        self._shownResult: str | None = None
        self.nodes: dict[str, Any] = {}
        self._banner: list[Any] = []
        self._view = ViewTab(ui, self)
        self._findings = FindingsTab(ui, self)
        actions: dict[str, Callable[[], str]] = {
            "exportHtmlButton": lambda: exports.exportReview(self._findings.review(), "html"),
            "exportCsvButton": lambda: exports.exportReview(self._findings.review(), "csv"),
            "exportJsonButton": lambda: exports.exportReview(self._findings.review(), "json"),
            "exportReportButton": lambda: exports.exportReport(self._findings.review(), self.nodes),
            "exportDicomButton": lambda: exports.exportDicom(self.nodes),
        }
        for name, action in actions.items():
            getattr(ui, name).connect("clicked(bool)", self.pressed(lambda action=action: self.say(action())))
        ui.reviewTabs.connect("currentChanged(int)", self._fitTabs)
        self._fitTabs(0)

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
            before = self._findings.review()
            self._shownResult = current
            self.nodes = results.resultNodes(slicer.mrmlScene.GetNodeByID(current)) if current else {}
            if before is not None:  # what it outlines lies on another image
                review.hideOutlines(before)
            self._showResult()
        else:
            self._showBanner()
            self._view.update()

    def close(self) -> None:
        """Take no keys any more."""
        self._findings.close()

    def sceneClosing(self) -> None:
        """The nodes go away, and with them what is compared: another scene begins in the layout of before."""
        comparison.endCompare()
        self._shownResult, self.nodes = None, {}

    def say(self, text: str, bad: bool = False) -> None:
        """Put a sentence into the section's last line."""
        setText(self.ui.verdictLabel, text, bad)

    def pressed(self, action: Callable[[], Any]) -> Callable[[], None]:
        """A button's slot: an action on the current result, whose error goes to the section's line."""

        def slot() -> None:
            if not self.nodes:
                return
            try:
                self.say("")
                action()
            except Exception as error:  # whatever it was: a press that does nothing tells nothing
                self.say(sentenceOf(error), True)

        return slot

    def reviewChanged(self) -> None:
        """Offer what can be exported of the result and of its review."""
        reviewed = self._findings.review() is not None
        for name in ("exportHtmlButton", "exportCsvButton", "exportJsonButton"):
            getattr(self.ui, name).enabled = reviewed
        able = exports.canExportReport()
        self.ui.exportReportButton.enabled = able and reviewed
        self.ui.exportReportButton.toolTip = tipOf(self.ui.exportReportButton) if able else exports.NO_HIGHDICOM
        self.ui.exportDicomButton.enabled = "mean" in self.nodes

    def _showResult(self) -> None:
        self.say("")
        try:
            self._banner = review.banner(results.resultReport(self.nodes)) if self.nodes else []
        except ValueError as error:
            self.nodes, self._banner = {}, []
            self.say(str(error), True)
        self._showBanner()
        self._view.show()
        self._findings.show()

    def _showBanner(self) -> None:
        """In colours of the present style, which may have been changed."""
        setText(self.ui.bannerLabel, "<br>".join(
            f'<span style="color: {toneColour(self.ui.bannerLabel, line.state)}">{escape(line.text)}</span>'
            for line in self._banner))

    def _fitTabs(self, current: int) -> None:
        """Let the tabs be as high as the one on show: Qt asks hidden pages for their height too, unless empty."""
        for index, name in enumerate(TABS):
            getattr(self.ui, f"{name}Content").setVisible(index == current)


def _place(ui: Any) -> None:
    """Put the section's widgets where the panel has room for them, and among the panel's own."""
    content = slicer.util.loadUI(str(UI_FILE))
    vars(ui).update(vars(namedWidgets(content, UI_FILE)))
    ui.reviewCollapsibleButton.layout().addWidget(content)
    content.setMRMLScene(slicer.mrmlScene)

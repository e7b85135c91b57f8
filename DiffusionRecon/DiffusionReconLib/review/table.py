"""The review's table node: one row a finding, all cells text, so that it is the same after a scene's file."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import vtk
from diffusion_engine.posterior.findings import BOTH, FROM_DRAWS, NOT_SEEN, Finding
from slicer.i18n import tr as _

from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX

# Header by field; units are in the header, the image's own unit is an attribute of the node.
COLUMNS = (
    "Number", "Reason", "R (mm)", "A (mm)", "S (mm)", "Peak R (mm)", "Peak A (mm)", "Peak S (mm)", "Volume (mm3)",
    "Mean", "Low", "High", "Not determined (share)", "Segment", "Half width", "Interval from", "Contrast",
    "Score (mm)", "z", "Verdict", "Comment", "Reviewer", "Time",
)  # fmt: skip
# What tables of earlier versions say instead; those have no contrast and no score.
EARLIER_COLUMNS = {"Not determined (share)": "Not-seen share"}
EARLIER_REASONS = {"not seen": NOT_SEEN, "uncertain and not seen": BOTH}
# The attribute with the number of draws that the spreads are of.
DRAWS = "Draws"
# What a table's file cannot hold: its writer quotes nothing.
ESCAPES = (("\\", "\\\\"), ('"', "\\q"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


@dataclass(frozen=True)
class Verdict:
    """What a reviewer decided ("" while undecided), why, who and when (ISO 8601 with time zone)."""

    verdict: str = ""
    comment: str = ""
    reviewer: str = ""
    time: str = ""


def addTable(name: str, findings: tuple[Finding, ...]) -> slicer.vtkMRMLTableNode:
    """Add a table node with one row for each finding, without verdicts."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for column in COLUMNS:
        array = vtk.vtkStringArray()
        array.SetName(column)
        node.AddColumn(array)
    for finding in findings:
        row = node.AddEmptyRow()
        share, contrast, score, z = (
            "" if each is None else repr(each)
            for each in (finding.not_seen_share, finding.contrast, finding.score_mm, finding.z)
        )
        numbers = (*finding.centre_ras_mm, *finding.peak_ras_mm, finding.volume_mm3, finding.mean_value)
        cells = [
            str(finding.number), finding.reason, *map(repr, (*numbers, *finding.interval)), share,
            finding.segment or "", repr(finding.half_width), finding.basis, contrast, score, z,
        ]  # fmt: skip
        for column, text in enumerate(cells):
            node.SetCellText(row, column, escaped(text))
    return node


def readFindings(node: slicer.vtkMRMLTableNode) -> list[Finding]:
    """The findings of a table, exactly as they went in."""
    return [_finding(node, row) for row in range(node.GetNumberOfRows())]


def readLevel(node: slicer.vtkMRMLTableNode) -> float | None:
    """The level that the review's intervals may claim, None where they are spreads of estimates.

    A review without the number of its draws is of an earlier version, which claimed a level of any draws.
    """
    level = node.GetAttribute(ATTRIBUTE_PREFIX + "Level")
    return float(level) if level and readDraws(node) is not None else None


def readDraws(node: slicer.vtkMRMLTableNode) -> int | None:
    """How many draws the review's spreads are of, None where that is not known."""
    count = node.GetAttribute(ATTRIBUTE_PREFIX + DRAWS)
    return int(count) if count else None


def readVerdict(node: slicer.vtkMRMLTableNode, number: int) -> Verdict:
    """The verdict on a finding."""
    row = rowOf(node, number)
    return Verdict(*(cell(node, row, column) for column in ("Verdict", "Comment", "Reviewer", "Time")))


def writeVerdict(node: slicer.vtkMRMLTableNode, number: int, verdict: Verdict) -> None:
    """Put a verdict into its finding's row."""
    row = rowOf(node, number)
    texts = (verdict.verdict, verdict.comment, verdict.reviewer, verdict.time)
    for column, text in zip(("Verdict", "Comment", "Reviewer", "Time"), texts, strict=True):
        node.SetCellText(row, node.GetColumnIndex(column), escaped(text))


def rowOf(node: slicer.vtkMRMLTableNode, number: int) -> int:
    """The row of a finding, by its number: a user may have sorted the table. Raises ValueError for an unknown one."""
    for row in range(node.GetNumberOfRows()):
        if cell(node, row, "Number") == str(number):
            return row
    raise ValueError(_(
        "The review has {count} findings, but none with the number {number}."
    ).format(count=node.GetNumberOfRows(), number=number))


def cell(node: slicer.vtkMRMLTableNode, row: int, column: str) -> str:
    """A cell's text, "" where a table of an earlier version has no such column."""
    index = node.GetColumnIndex(column)
    if index < 0:
        index = node.GetColumnIndex(EARLIER_COLUMNS.get(column, column))
    return unescaped(node.GetCellText(row, index)) if index >= 0 else ""


def escaped(text: str) -> str:
    """A text without tabs, line ends and double quotes, from which `unescaped` gets it back."""
    for plain, code in ESCAPES:
        text = text.replace(plain, code)
    return text


def unescaped(text: str) -> str:
    """What `escaped` was given."""
    plain = {code[1]: character for character, code in ESCAPES}
    parts, index = [], 0
    while index < len(text):
        if text[index] == "\\" and text[index + 1 : index + 2] in plain:
            parts.append(plain[text[index + 1]])
            index += 2
        else:
            parts.append(text[index])
            index += 1
    return "".join(parts)


def _finding(node: slicer.vtkMRMLTableNode, row: int) -> Finding:
    def number(column: str) -> float:
        return float(cell(node, row, column))

    def numberOrNone(column: str) -> float | None:
        text = cell(node, row, column)
        return float(text) if text else None

    reason, basis = cell(node, row, "Reason"), cell(node, row, "Interval from")
    return Finding(
        number=int(cell(node, row, "Number")),
        reason=EARLIER_REASONS.get(reason, reason),
        centre_ras_mm=(number("R (mm)"), number("A (mm)"), number("S (mm)")),
        peak_ras_mm=(number("Peak R (mm)"), number("Peak A (mm)"), number("Peak S (mm)")),
        volume_mm3=number("Volume (mm3)"),
        mean_value=number("Mean"),
        interval=(number("Low"), number("High")),
        not_seen_share=numberOrNone("Not determined (share)"),
        segment=cell(node, row, "Segment") or None,
        half_width=number("Half width"),
        basis=basis,
        level=readLevel(node) if basis == FROM_DRAWS else None,
        contrast=numberOrNone("Contrast"),
        score_mm=numberOrNone("Score (mm)"),
        z=numberOrNone("z"),
    )

"""The review's table node: one row a finding, all cells text, so that it is the same after a scene's file."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import vtk
from diffusion_engine.posterior.findings import FROM_DRAWS, Finding

from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX

# Header by field; units are in the header, the image's own unit is an attribute of the node.
COLUMNS = (
    "Number", "Reason", "R (mm)", "A (mm)", "S (mm)", "Peak R (mm)", "Peak A (mm)", "Peak S (mm)", "Volume (mm3)",
    "Mean", "Low", "High", "Not-seen share", "Segment", "Half width", "Interval from", "Verdict", "Comment",
    "Reviewer", "Time",
)  # fmt: skip
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
        share = "" if finding.not_seen_share is None else repr(finding.not_seen_share)
        numbers = (*finding.centre_ras_mm, *finding.peak_ras_mm, finding.volume_mm3, finding.mean_value)
        cells = [
            str(finding.number), finding.reason, *map(repr, (*numbers, *finding.interval)), share,
            finding.segment or "", repr(finding.half_width), finding.basis,
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
        node.SetCellText(row, COLUMNS.index(column), escaped(text))


def rowOf(node: slicer.vtkMRMLTableNode, number: int) -> int:
    """The row of a finding, by its number: a user may have sorted the table. Raises ValueError for an unknown one."""
    for row in range(node.GetNumberOfRows()):
        if cell(node, row, "Number") == str(number):
            return row
    raise ValueError(f"The review has {node.GetNumberOfRows()} findings, but none with the number {number}.")


def cell(node: slicer.vtkMRMLTableNode, row: int, column: str) -> str:
    """A cell's text."""
    return unescaped(node.GetCellText(row, node.GetColumnIndex(column)))


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

    share, basis = cell(node, row, "Not-seen share"), cell(node, row, "Interval from")
    return Finding(
        number=int(cell(node, row, "Number")),
        reason=cell(node, row, "Reason"),
        centre_ras_mm=(number("R (mm)"), number("A (mm)"), number("S (mm)")),
        peak_ras_mm=(number("Peak R (mm)"), number("Peak A (mm)"), number("Peak S (mm)")),
        volume_mm3=number("Volume (mm3)"),
        mean_value=number("Mean"),
        interval=(number("Low"), number("High")),
        not_seen_share=float(share) if share else None,
        segment=cell(node, row, "Segment") or None,
        half_width=number("Half width"),
        basis=basis,
        level=readLevel(node) if basis == FROM_DRAWS else None,
    )

"""A review as files: CSV, JSON, one self-contained HTML page, and a DICOM structured report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
import slicer


def reviewContent(review: slicer.vtkMRMLTableNode) -> dict:
    """All of a review as plain JSON values: findings with verdicts, the whole's verdict, banner, provenance."""
    raise NotImplementedError


def exportCsv(review: slicer.vtkMRMLTableNode, path: str | Path) -> Path:
    """One line a finding, with a header line; UTF-8 with a byte-order mark, as spreadsheets want it."""
    raise NotImplementedError


def exportJson(review: slicer.vtkMRMLTableNode, path: str | Path) -> Path:
    """`reviewContent` as a JSON file."""
    raise NotImplementedError


def exportHtml(
    review: slicer.vtkMRMLTableNode, path: str | Path, snapshots: Mapping[str, np.ndarray] | None = None
) -> Path:
    """One HTML file that needs no other: banner, findings, verdicts, `snapshots` by caption, provenance.

    A snapshot is (rows, columns, 3) uint8, top row first.
    """
    raise NotImplementedError


def exportStructuredReport(
    review: slicer.vtkMRMLTableNode, path: str | Path, sources: Sequence[pydicom.Dataset]
) -> Path:
    """A DICOM Comprehensive 3D SR of the findings in the study of `sources` (the input's images).

    Raises RuntimeError when the package highdicom is missing.
    """
    raise NotImplementedError

"""What the panel's export buttons do: ask for a place, write a review or a result there, say what was written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

NO_HIGHDICOM = _(
    "A DICOM structured report needs the Python package highdicom: install it in Slicer's Python console with "
    "slicer.util.pip_install('highdicom')"
)


def canExportReport() -> bool:
    """Whether structured reports can be written here."""
    return importlib.util.find_spec("highdicom") is not None


def exportReview(review: Any, kind: str) -> str:
    """Write a review as "html", "csv" or "json"; returns what was done, "" when no place was chosen."""
    from DiffusionReconLib.review import report
    from DiffusionReconLib.review.snapshots import snapshots

    path = qt.QFileDialog.getSaveFileName(
        None, _("Export the review"), f"review.{kind}", f"{kind.upper()} (*.{kind})")
    if not path:
        return ""
    if kind == "html":
        report.exportHtml(review, path, snapshots())
    else:
        {"csv": report.exportCsv, "json": report.exportJson}[kind](review, path)
    return _written(path)


def exportReport(review: Any, nodes: dict[str, Any]) -> str:
    """Write a review as a DICOM structured report in the study of the input; ValueError where that came without one."""
    sources = _sources(nodes)
    if not sources:  # said before a place is asked for
        raise ValueError(_("A DICOM structured report belongs to a study, and the input came without DICOM: export a "
                           "page instead."))
    from DiffusionReconLib.review.report import exportStructuredReport

    path = qt.QFileDialog.getSaveFileName(None, _("Export the structured report"), "review.dcm", "DICOM (*.dcm)")
    if not path:
        return ""
    exportStructuredReport(review, path, sources)
    return _written(path)


def exportDicom(nodes: dict[str, Any]) -> str:
    """Write the mean as a DICOM series into an empty folder."""
    from DiffusionReconLib.scene.dicom_export import exportSeries

    folder = qt.QFileDialog.getExistingDirectory(None, _("An empty folder for the DICOM series"))
    if not folder:
        return ""
    return _("Written: {n} DICOM files").format(n=len(exportSeries(nodes["mean"], folder, _sources(nodes))))


def _sources(nodes: dict[str, Any]) -> list[Any]:
    """The DICOM headers of the result's input."""
    from DiffusionReconLib.scene.dicom_export import sourceDatasets
    from DiffusionReconLib.scene.publish import INPUT_REFERENCE

    return sourceDatasets(nodes["mean"].GetNodeReference(INPUT_REFERENCE))


def _written(path: str) -> str:
    return _("Written: {name}").format(name=Path(path).name)

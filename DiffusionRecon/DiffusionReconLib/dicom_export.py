"""Result volumes as DICOM series: derived, secondary, in the input's study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
import slicer


def sourceDatasets(node: slicer.vtkMRMLVolumeNode | None) -> list[pydicom.Dataset]:
    """The headers of the DICOM files that a node was loaded from, by Slicer's database; empty without them."""
    raise NotImplementedError


def exportSeries(
    node: slicer.vtkMRMLScalarVolumeNode,
    folder: str | Path,
    sources: Sequence[pydicom.Dataset] = (),
    seriesNumber: int = 9000,
) -> list[Path]:
    """Write a result's volume as one DICOM series of single-slice files; returns the files, in slice order.

    With `sources` it lies in their patient and study, else in a new one. Raises ValueError for a grid that DICOM
    cannot hold and for a folder that holds files.
    """
    raise NotImplementedError

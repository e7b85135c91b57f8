"""The unit of a PET volume's values where neither DICOM nor the file says it: a user states it, the volume keeps it."""

from __future__ import annotations

from typing import Any

import slicer

from DiffusionReconLib.scene.volumes import setUnit, unitOfNode

ACTIVITY_UNITS = ("Bq/mL", "SUV")
"""Units of PET; kinds of SUV other than that of the body weight begin as it does."""
STATED_ATTRIBUTE = "DiffusionPriors.StatedUnit"


def asksForUnit(node: Any) -> bool:
    """Whether the unit of a volume is the user's to state, or was stated before."""
    if node.GetImageData() is None:
        return False
    return bool(node.GetAttribute(STATED_ATTRIBUTE)) or not unitOfNode(node).startswith(ACTIVITY_UNITS)


def stateUnit(node: Any, unit: str) -> None:
    """Give a volume the unit that a user stated, "" takes it back."""
    if unit:
        setUnit(node, unit)
        node.SetAttribute(STATED_ATTRIBUTE, unit)
    else:
        node.SetVoxelValueUnits(slicer.vtkCodedEntry())
        node.RemoveAttribute(STATED_ATTRIBUTE)

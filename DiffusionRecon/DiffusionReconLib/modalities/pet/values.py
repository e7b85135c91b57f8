"""The unit of a volume's values where neither DICOM nor the file says it: a user states it, the volume keeps it."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import Form
from DiffusionReconLib.scene.volumes import setUnit, unitOfNode

ACTIVITY_UNITS = ("Bq/mL", "SUV")
"""Units of PET; kinds of SUV other than that of the body weight begin as it does."""
STATED_ATTRIBUTE = "DiffusionPriors.StatedUnit"


class UnitRow:
    """The row of a combo box with the unit of the input volume, or of the one chosen for a `setting` of the engine.

    It is there while the unit is the user's to state.
    """

    def __init__(self, form: Form, widget: str, units: tuple[str, ...], setting: str = "") -> None:
        self._form, self._widget, self._units, self._setting = form, widget, units, setting
        self._combo = getattr(form.ui, widget)
        self._combo.addItem(_("Not known"), "")
        for unit in units:
            self._combo.addItem(unit, unit)
        self._combo.connect("activated(int)", self._chosen)

    def update(self, node: Any) -> None:
        """Show the unit of a volume, None hides the row."""
        asked = node is not None and asksForUnit(node, self._units)
        self._form.showRow(self._widget, asked)
        if asked:
            self._combo.currentIndex = max(0, self._combo.findData(unitOfNode(node)))

    def _chosen(self, index: int) -> None:
        node = self._form.volume(self._setting)
        if node is not None:
            stateUnit(node, self._combo.itemData(index))
            self._form.changed()


def asksForUnit(node: Any, units: tuple[str, ...]) -> bool:
    """Whether the unit of a volume is the user's to state, or was stated before; those that begin as `units` are known.
    """
    if node.GetImageData() is None:
        return False
    return bool(node.GetAttribute(STATED_ATTRIBUTE)) or not unitOfNode(node).startswith(units)


def stateUnit(node: Any, unit: str) -> None:
    """Give a volume the unit that a user stated, "" takes it back."""
    if unit:
        setUnit(node, unit)
        node.SetAttribute(STATED_ATTRIBUTE, unit)
    else:
        node.SetVoxelValueUnits(slicer.vtkCodedEntry())
        node.RemoveAttribute(STATED_ATTRIBUTE)

"""A modality's place in the panel: its widgets, over its own pack of parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util

from DiffusionReconLib.modalities.contract import Modality
from DiffusionReconLib.panel.part import Part, namedWidgets, onPathEdited, setText

UI_FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


class AcquisitionPart(Part):
    """The acquisition widgets of one modality, in `place`; what `Form` of the modalities' contract promises."""

    def __init__(self, ui: Any, modality: Modality, place: Any, changed: Callable[[], None]) -> None:
        self.changed = changed
        self._content = _placed(ui, UI_FOLDER / modality.uiFile, place)
        super().__init__(ui)
        self.modality = modality
        self._paths: dict[str, str] = {}
        self._rows = modality.rows(self)

    @property
    def values(self) -> Any:
        """The modality's pack of the present parameters."""
        return getattr(self.parameters, self.modality.name)

    def store(self, field: str, value: Any) -> None:
        """Set a member of the pack, when there are parameters."""
        if self.parameters is not None and getattr(self.values, field) != value:
            setattr(self.values, field, value)

    def path(self, widget: str, field: str, filters: list[str]) -> None:
        """Keep the path of a ctkPathLineEdit in a member, the empty one too."""
        edit = getattr(self.ui, widget)
        edit.nameFilters = filters
        onPathEdited(edit, lambda path: self.store(field, path))
        self._paths[widget] = field

    def say(self, widget: str, text: str, bad: bool = False) -> None:
        """Put a text on a label, one about something `bad` in red; an empty one takes no room."""
        setText(getattr(self.ui, widget), text, bad)

    def nodes(self, widget: str) -> None:
        """Let a qMRMLNodeComboBox list the scene's nodes."""
        getattr(self.ui, widget).setMRMLScene(slicer.mrmlScene)

    def volume(self, setting: str = "") -> Any:
        """The input volume, or the one that was chosen for one of the modality's `volumes`; None without."""
        if self.parameters is None:
            return None
        return getattr(self.parameters, self.modality.volumes[setting] if setting else "inputVolume")

    def volumes(self) -> dict[str, Any]:
        """The modality's further volumes that were chosen, by the engine's setting."""
        found = {setting: self.volume(setting) for setting in self.modality.volumes}
        return {setting: node for setting, node in found.items() if node is not None}

    def useVolume(self, node: Any) -> None:
        """Take another input volume."""
        if self.parameters is not None:
            self.parameters.inputVolume = node

    def take(self, values: Any) -> None:
        """Set several members, as one change."""
        before = self.parameters.StartModify()
        for field, value in values.items():
            self.store(field, value)
        self.parameters.EndModify(before)

    def show(self, visible: bool, measured: bool) -> None:
        """Show the pack, or nothing while another modality is chosen."""
        self._content.setVisible(visible)
        if not visible:
            return
        values = self.values
        for widget, field in self._paths.items():
            edit, path = getattr(self.ui, widget), getattr(values, field)
            if edit.currentPath != path:
                edit.currentPath = path
        self._rows.update(values, measured)


def _placed(ui: Any, uiFile: Path, place: Any) -> Any:
    """Load a .ui file into a place, its widgets among the panel's; raises ValueError for names that are taken."""
    content = slicer.util.loadUI(str(uiFile))
    named = vars(namedWidgets(content, uiFile))
    taken = sorted(set(named) & set(vars(ui)))
    if taken:
        raise ValueError(f"Expected names of its own in {uiFile.name}, found {taken} in another file too: rename them.")
    vars(ui).update(named)
    place.layout().addWidget(content)
    return content

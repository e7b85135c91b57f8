"""The section SUV of the panel: factors with their reasons, what a header lacks, and a volume in SUV to reconstruct."""

from __future__ import annotations

from typing import Any

import slicer.util
from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import Form
from DiffusionReconLib.modalities.pet import uptake


class SUVRows:
    """Headers are read when a button is pressed; what is stated then changes the text at once."""

    def __init__(self, form: Form) -> None:
        import ctk

        self._form = form
        self._sex = form.choices("suvSexComboBox", "sex")
        self._sex.fill([("", _("As the header says")), ("F", _("Female")), ("M", _("Male"))])
        self._kind = form.choices("suvKindComboBox", "suvKind")
        self._kind.fill([
            ("bw", _("Body weight")), ("lbm", _("Lean body mass (Janmahasatian)")),
            ("lbm_james", _("Lean body mass (James)")), ("bsa", _("Body surface")), ("ibw", _("Ideal body weight")),
        ])
        form.path("suvFolderPathEdit", "suvFolder", [])
        form.ui.suvFolderPathEdit.filters = ctk.ctkPathLineEdit.Dirs
        form.ui.suvFactorsButton.connect("clicked(bool)", self._show)
        form.ui.suvVolumeButton.connect("clicked(bool)", self._make)
        self._read: tuple[tuple[str, ...], uptake.Frames] | None = None
        self._values: Any = None
        form.say("suvLabel", "")

    def update(self, values: Any, node: Any) -> None:
        """Show the pack's values for a volume, None hides the section."""
        self._values = values
        self._form.ui.suvCollapsibleButton.setVisible(node is not None)
        self._sex.show(values.sex)
        self._kind.show(values.suvKind)
        if self._read is not None and self._read[0] == _source(node, values):
            self._tell(node)
        else:
            self._read = None
            self._form.say("suvLabel", "")

    def _show(self) -> None:
        node = self._form.volume()
        if self._headers(node):
            self._tell(node)

    def _make(self) -> None:
        node = self._form.volume()
        if not self._headers(node):
            return
        try:
            made = uptake.makeSUV(node, self._values.suvKind, stated(self._values), frames=self._read[1])
        except ValueError as error:
            self._form.say("suvLabel", str(error), True)
            return
        slicer.util.setSliceViewerLayers(background=made, foreground=None)
        self._form.useVolume(made)

    def _headers(self, node: Any) -> bool:
        """Read the headers of a volume, unless they were read; whether there are any."""
        if node is None:
            return False
        source = _source(node, self._values)
        if self._read is not None and self._read[0] == source:
            return True
        try:
            self._read = source, uptake.framesOf(node, self._values.suvFolder)
        except (ValueError, OSError) as error:
            self._form.say("suvLabel", str(error), True)
            return False
        return True

    def _tell(self, node: Any) -> None:
        try:
            factors = uptake.factorsOf(node, self._read[1], stated(self._values))
        except ValueError as error:
            self._form.say("suvLabel", str(error), True)
            return
        self._form.say("suvLabel", uptake.factorsText(factors))


def stated(values: Any) -> dict[str, Any]:
    """What the rows say in place of the header, by DICOM keyword; ValueError, one sentence, for a time that is none."""
    from diffusion_engine.modalities.pet.stated import stated_fields

    return stated_fields(values.weightKg or None, values.heightM or None, values.sex or None,
                         values.injectedMbq or None, values.injectedAt.strip() or None)


def _source(node: Any, values: Any) -> tuple[str, ...]:
    """What the headers of a volume depend on."""
    return () if node is None else (node.GetID(), node.GetAttribute(uptake.INSTANCES) or "", values.suvFolder)

"""What a modality brings to the panel: one entry with its words, its parameters, its widgets and its rules.

The panel knows a modality through this contract alone. A further one is a folder here and an entry in `table.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class AcquisitionPreset:
    """A simulated scan by name: `values` are members of the modality's pack, those that matter for it."""

    name: str
    title: str
    description: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredSummary:
    """What measured data hold: `lines` are short phrases, `shape` the image's slices, rows and columns.

    `shape` None: the run alone reads it. `files`: the data and what describes them: the path of a JSON file, its
    content, or "". `remarks`: sentences on what does not look right.
    """

    lines: tuple[str, ...]
    shape: tuple[int, int, int] | None
    files: tuple[str, str | Mapping[str, Any]]
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it, a phrase a line."""
        return "\n".join([*self.lines, *self.remarks])


@dataclass(frozen=True)
class Suggestion:
    """Presets that fit better than another one would, the best one first, and why, as the start of a sentence."""

    presets: tuple[str, ...]
    reason: str


class Chooser(Protocol):
    """A combo box whose entries have a name that is stored and a title that is shown."""

    def fill(self, entries: Iterable[tuple[str, str]]) -> None:
        """Offer these (name, title) pairs."""

    def show(self, name: str) -> None:
        """Show an entry without storing it."""


class Form(Protocol):
    """What the panel gives to a modality's widgets; `field` is a member of its pack, `widget` a name of its .ui file.

    Numbers need none of this: SlicerParameterName binds them to "<modality>.<member>" in the .ui file.
    """

    ui: Any

    def choices(self, widget: str, field: str) -> Chooser:
        """The entries of a combo box that are stored in a member."""

    def path(self, widget: str, field: str, filters: list[str]) -> None:
        """Keep the path of a ctkPathLineEdit in a member, the empty one too."""

    def showRow(self, widget: str, visible: bool) -> None:
        """Show or hide a row: the widget named `{widget}Row` with a form of its own, else the widget and its label."""

    def say(self, widget: str, text: str, bad: bool = False) -> None:
        """Put a text on a label, one about something `bad` in red; an empty one takes no room."""

    def nodes(self, widget: str) -> None:
        """Let a qMRMLNodeComboBox list the scene's nodes."""

    def volume(self, setting: str = "") -> Any:
        """The input volume, or the one that was chosen for one of the modality's `volumes`; None without."""

    def useVolume(self, node: Any) -> None:
        """Take another input volume."""

    def changed(self) -> None:
        """Something that no parameter holds is other than before, such as an attribute of the input."""


class Rows(Protocol):
    """A modality's acquisition widgets."""

    def update(self, values: Any, measured: bool) -> None:
        """Show the pack's values: those of a simulated scan, or where measured data are read from."""


@dataclass(frozen=True)
class Modality:
    """An entry of the table.

    `purpose`: what the module does with it, one or two sentences. `units` and `dicom`: what its images are recognised
    by. `model`: the trained model that is taken where none was chosen. `pack`: its parameters, a parameterPack of plain
    values. `uiFile`: its acquisition widgets in Resources/UI, which `rows` fills. `presets`: its simulated scans;
    `sentences`: what each preset of the engine is for, by its name; `stages`: what its classical images are called
    while they are made. `scanSettings` makes the pack's values into the engine's settings of a simulated scan.
    `summarise` looks at the measured data that the pack names: None where it names none; ValueError, one sentence, for
    what cannot be used; `sources` tells whether there is something else to look at. `suggest`: the preset that fits the
    pack, the measured data (None for a simulated scan) and the body part (as in DICOM, "" where unknown); None where no
    one stands out.

    `names`: words in the names of volumes without a unit that speak for it. `volumes`: further volumes that a run
    takes, as the parameter that holds each by the engine's setting that names its file. `measuredSettings`: what of the
    pack is said of measured data too. `notReady`: why the pack's values, an input volume (None for measured data),
    measured data (None for a volume) and those of `volumes` cannot be used, "" when they can. `remarks`: those on
    measured data that hold beside the chosen `volumes`.
    """

    name: str
    title: str
    purpose: str
    units: tuple[str, ...]
    dicom: tuple[str, ...]
    model: str
    pack: type
    uiFile: str
    rows: Callable[[Form], Rows]
    presets: tuple[AcquisitionPreset, ...]
    sentences: Mapping[str, str]
    stages: Mapping[str, str]
    scanSettings: Callable[[Any], dict[str, Any]]
    sources: Callable[[Any], tuple[str, ...]]
    summarise: Callable[[Any], MeasuredSummary | None]
    suggest: Callable[[Any, MeasuredSummary | None, str], Suggestion | None]
    names: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    measuredSettings: Callable[[Any], dict[str, Any]] = lambda _values: {}
    notReady: Callable[[Any, Any, MeasuredSummary | None, Mapping[str, Any]], str] = lambda *_facts: ""
    remarks: Callable[[Any, Mapping[str, Any]], tuple[str, ...]] = lambda summary, _volumes: summary.remarks


def presetOf(modality: Modality, values: Any) -> AcquisitionPreset | None:
    """The acquisition preset that a pack's values are, None for values of one's own."""
    for preset in modality.presets:
        if all(_same(getattr(values, name), value) for name, value in preset.values.items()):
            return preset
    return None


def _same(found: Any, wanted: Any) -> bool:
    return abs(found - wanted) <= 1e-6 * abs(wanted) if isinstance(wanted, float) else found == wanted

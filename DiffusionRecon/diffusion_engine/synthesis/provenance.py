"""What says of everything synthetic that it is: names, attributes, texts in files, and that no patient is in it."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

MARK = "SYNTHETIC"
"""Begins every patient's ID and name, every description; attributes begin with ATTRIBUTE_PREFIX."""
ATTRIBUTE_PREFIX = "DiffusionSynth."
SENTENCE = "Synthetic image made with a diffusion prior. No patient was examined. Not for diagnostic use."
LONGEST = 1024
"""Characters of a derivation description."""
IDENTITY = (
    "PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientBirthName", "PatientMotherBirthName",
    "PatientAddress", "PatientTelephoneNumbers", "IssuerOfPatientID", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "InstitutionName",
    "InstitutionAddress", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "StationName",
    "DeviceSerialNumber", "DeviceUID", "RequestingPhysician", "PhysiciansOfRecord", "EthnicGroup", "MilitaryRank",
)
"""What tells whose image a source is, and in which examination it was made."""
TELLING = 5
"""An identifying text of so many characters or more is looked for within all other texts, too."""


@dataclass(frozen=True)
class Provenance:
    """How a synthetic image was made; it names no source.

    ``kind``: "generated", "lesion", "translated", "healthy" or "segmented"; ``prior``: name of the network; ``seed`` of
    the random numbers; ``classes``: the tissue classes that it was made from; ``settings``: numbers and words of the
    method; ``identity``: eight signs that tell this synthetic patient from others, random unless given.
    Raises ValueError for another kind, a negative seed and an identity of other signs.
    """

    kind: str
    prior: str
    seed: int
    classes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    identity: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        kinds = ("generated", "lesion", "translated", "healthy", "segmented")
        if self.kind not in kinds:
            raise ValueError(f"expected one of {', '.join(kinds)} as kind of synthesis, found {self.kind!r}: name one")
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, found {self.seed}: give another one")
        if not re.fullmatch(r"[0-9a-zA-Z]{1,32}", self.identity):
            raise ValueError(f"expected 1 to 32 letters and digits as identity, found {self.identity!r}: shorten it")

    @property
    def patient(self) -> str:
        """The patient's ID, and the name in files."""
        return f"{MARK}-{self.identity}"

    def node_name(self, what: str, number: int | None = None) -> str:
        """A node's name: "Synthetic CT 3"."""
        return f"Synthetic {what}" + ("" if number is None else f" {number}")

    def attributes(self) -> dict[str, str]:
        """Attributes of a node, all with the prefix; texts."""
        pairs = {
            "Synthetic": "yes", "Kind": self.kind, "Prior": self.prior, "Seed": str(self.seed),
            "Classes": ", ".join(self.classes), "PatientID": self.patient, "EngineVersion": __version__,
            **{f"Setting.{name}": str(value) for name, value in self.settings.items()},
        }
        return {ATTRIBUTE_PREFIX + name: value for name, value in pairs.items()}

    def description(self, longest: int = LONGEST) -> str:
        """One text for a file's header, cut at ``longest`` characters with dots; its beginning says what matters."""
        parts = [f"{MARK} ({self.kind}), prior {self.prior}, seed {self.seed}", f"DiffusionPriors {__version__}"]
        parts += [f"classes {', '.join(self.classes)}"] if self.classes else []
        parts += [f"{name} {value}" for name, value in self.settings.items()]
        text = "; ".join(parts) + ". " + SENTENCE
        return text if len(text) <= longest else text[: longest - 3] + "..."

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, for manifests and results."""
        content = {**asdict(self), "classes": list(self.classes), "settings": dict(self.settings)}
        return {"synthetic": True, "patient_id": self.patient, "engine_version": __version__, **content}


def identity_of(sources: Iterable[Dataset]) -> dict[str, set[str]]:
    """The identifying values of DICOM headers, by keyword, nested sequences among them; empty ones are none."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for element in _elements(source):
            if element.keyword in IDENTITY:
                found.setdefault(element.keyword, set()).update(_texts(element.value))
    return found


def left_over(
    written: Dataset | str | Mapping[str, Any], identity: Mapping[str, set[str]], today: datetime.date | None = None
) -> list[str]:
    """What of a source's :func:`identity_of` is still found in a synthetic header or text; empty when it is clean.

    A value counts where the same field holds it, and one of 5 characters or more wherever a text holds it; not so the
    date of ``today`` (now by default), on which both may have been made.
    """
    date = f"{today or datetime.date.today():%Y%m%d}"
    fields = list(_fields(written))
    found = []
    for keyword, values in identity.items():
        for value in values - {date}:
            for name, text in fields:
                inside = len(value) >= TELLING and value.casefold() in text.casefold()
                if inside or (name == keyword and text == value):
                    # A name that holds the value would give it away.
                    told = "a key" if value.casefold() in name.casefold() else name or "the text"
                    found.append(f"{keyword} in {told}")
    return sorted(set(found))


def check_clean(
    written: Dataset | str | Mapping[str, Any], identity: Mapping[str, set[str]], place: str | Path = "the image"
) -> None:
    """Raise ValueError, one sentence that names fields but no value, where a source's identity is left."""
    if found := left_over(written, identity):
        raise ValueError(
            f"expected nothing of the source's identity in {place}, found {', '.join(found)}: do not pass it on; "
            "remove names and dates from the segments' names and the settings"
        )


def _elements(data: Dataset) -> Iterator[Any]:
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _texts(value: Any) -> set[str]:
    values = [value] if isinstance(value, (str, bytes)) or not isinstance(value, Iterable) else list(value)
    if hasattr(value, "family_name"):
        values = [value, *str(value).replace("=", "^").split("^")]  # a name, and its parts
    return {text for each in values if (text := str(each).strip())}


def _fields(written: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of a header, a text or nested JSON values, the keys of mappings as well; no pixels."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            yield name, str(key)
            yield from _fields(value, str(key))
    elif isinstance(written, (list, tuple)):
        for value in written:
            yield from _fields(value, name)
    elif hasattr(written, "file_meta") or hasattr(written, "group_dataset"):
        meta = getattr(written, "file_meta", None)
        for data in (written, meta) if meta is not None else (written,):
            for element in _elements(data):
                if element.keyword != "PixelData":
                    for text in _texts(element.value):
                        yield element.keyword or str(element.tag), text
    else:
        yield name, str(written)

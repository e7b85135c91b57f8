"""Which tissue class a segment belongs to: by its SNOMED CT code, its name, or what the user chose.

Names are those of TotalSegmentator and plain English, without sides; codes those of DICOM and Slicer terminologies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .classes import AIR, BONE, CLASSES, FAT, LUNG, MUSCLE, SOFT, VESSEL

_ROWS: dict[int, str] = {
    AIR: "air 15158005, gas, background, trachea 44567001, airway, airways, bowel gas",
    LUNG: "lung 39607008, lungs, lung upper lobe 45653009, lung lower lobe 90572001, lung middle lobe 72481006",
    FAT: "fat 55603005, adipose tissue, subcutaneous fat 67769002, torso fat, visceral fat, intermuscular fat",
    SOFT: "soft tissue 87784001, body, body trunc, body extremities, adrenal gland 23451007, brain 12738006, "
    "colon 71854001, duodenum 38848004, esophagus 32849002, gallbladder 28231008, heart 80891009, "
    "heart myocardium 74281007, myocardium, kidney 64033007, liver 10200004, pancreas 15776009, "
    "small bowel 30315005, spleen 78961009, stomach 69695003, urinary bladder 89837001, bladder, "
    "kidney cyst 367643001, prostate 41216001, spinal cord 2748008, thyroid gland 69748006, intervertebral discs, "
    "skin, lung covid infiltrate 47351003, cartilage, costal cartilages",
    MUSCLE: "muscle 71616004, muscles, skeletal muscle 127954009, autochthon 244849004, gluteus maximus 181674001, "
    "gluteus medius 78333006, gluteus minimus 75297007, iliopsoas 68455001, psoas, quadriceps femoris, sartorius, "
    "thigh medial compartment, thigh posterior compartment",
    VESSEL: "vessel 59820001, vessels, blood vessel, contrast, artery 51114001, vein 29092000, aorta 15825003, "
    "heart atrium, left atrium 82471001, right atrium 73829009, heart ventricle, left ventricle 87878005, "
    "right ventricle 53085002, iliac artery 73634005, iliac vena 46027005, inferior vena cava 64131007, "
    "portal vein and splenic vein 110765007, portal vein 32764006, pulmonary artery 81040000, "
    "pulmonary vein 122972007, brachiocephalic trunk 12691009, subclavian artery 29700009, "
    "common carotid artery 32062004, brachiocephalic vein 8887007, atrial appendage 68786006, "
    "superior vena cava 48345005, coronary arteries 41801008, lung vessels",
    BONE: "bone 272673000, bones, clavicula 51299004, clavicle, femur 71341001, hip 29836001, humerus 85050009, "
    "rib 113197003, ribs, sacrum 54735007, scapula 79601000, vertebra 51282000, vertebrae, spine, patella 64234005, "
    "tibia 12611008, fibula 87342007, tarsal 108371006, metatarsal 53884002, phalanges feet, phalanges hand, "
    "phalanx 28641004, ulna 23416004, radius 62413002, carpal 83936004, metacarpal 36455000, sternum 56873002, "
    "skull 89546000, 48535007, 78247007, 25888004, 25523003, 15339008, 59558009, 24915002, 5953002, 22565002, "
    "77644006, 58830002, 43993008, 65985001, 14806007, 39976000, 113205007, 5329002, 36978003, 36054005, 87391001, "
    "66794005, 14293000, 36470004, 11994002, 49668003, 64864005, 53733008, 1626008, 73071006, 56401006, 45296009, "
    "62487009, 11068009, 82687006, 7610001, 12989004, 23215003",
}
"""Of each class: names, with the code where there is one; codes alone are of single ribs and vertebrae."""


def _pairs() -> tuple[dict[str, str], dict[str, str]]:
    names = {name: name for name in CLASSES}
    codes: dict[str, str] = {}
    for index, text in _ROWS.items():
        for item in text.split(", "):
            name, code = re.fullmatch(r"(\D*?) ?(\d*)", item).groups()  # type: ignore[union-attr]
            if name:
                names[name] = CLASSES[index]
            if code:
                codes[code] = CLASSES[index]
    return names, codes


@dataclass(frozen=True)
class Segment:
    """What a segment says of itself: its name, and the SNOMED CT code of its type, "" without one."""

    name: str
    code: str = ""


@dataclass(frozen=True)
class ClassTable:
    """Names (as :func:`plain_name` makes them) and SNOMED CT codes, each with the name of its class.

    ``chosen``: for segments by their own full names; it goes before codes, and these before names. ``known``: the
    classes of the network, the tissues by default; one that knows lesions has more, which are known by their names.
    Raises ValueError for other classes.
    """

    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_pairs()[0]))
    codes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_pairs()[1]))
    chosen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    known: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        for kind in ("names", "codes", "chosen"):
            for name, found in getattr(self, kind).items():
                if found not in self.known:
                    raise ValueError(
                        f"expected one of the classes {', '.join(self.known)} for '{name}', found {found!r}: "
                        "choose one of these"
                    )

    def with_chosen(self, chosen: Mapping[str, str]) -> ClassTable:
        """The table with the user's own choices added: segment's name to class; raises ValueError for other classes."""
        return replace(self, chosen=MappingProxyType({**self.chosen, **chosen}))

    def class_of(self, segment: Segment) -> str | None:
        """The segment's class: as chosen, by code, by name; None where nothing tells."""
        if segment.name in self.chosen:
            return self.chosen[segment.name]
        plain = plain_name(segment.name)
        own = {plain_name(name): name for name in self.known}
        return self.codes.get(segment.code) or self.names.get(plain) or own.get(plain)

    def unknown(self, segments: Sequence[Segment]) -> list[str]:
        """The names of segments whose class must be asked for."""
        return [segment.name for segment in segments if self.class_of(segment) is None]

    def classes_of(self, segments: Sequence[Segment]) -> dict[str, str]:
        """The class of each segment by its name; raises ValueError, one sentence, where one is unknown."""
        if unknown := self.unknown(segments):
            raise ValueError(
                f"expected a tissue class for every segment, found none for {', '.join(unknown)}: choose one of "
                f"{', '.join(self.known)} in the table, or leave the segment out"
            )
        return {segment.name: str(self.class_of(segment)) for segment in segments}


def plain_name(name: str) -> str:
    """A segment's name in small letters without signs, sides and numbers: "rib_left_4" gives "rib"."""
    words = re.sub(r"[^a-z0-9]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()).split()
    spoken = [word for word in words if word not in ("left", "right", "l", "r", "the", "of")]
    kept = [word for word in spoken if not re.fullmatch(r"\d+|[ctls]\d{1,2}", word)]
    return " ".join(kept)

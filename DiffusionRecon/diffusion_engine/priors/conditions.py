"""What a network is told of the image besides its place: a label map, or another image. No torch here.

    mask:     D(x; s, places, m) ~ E[clean | x, m],   m_c = 1 where the label is class c, else 0
    image:    D(x; s, places, y) ~ E[clean | x, y],   y: another image, such as the same slice at a low dose
    start:    the same, y being the classical image that a reconstruction starts from: noise of its kind, of any level
    segment:  D(b; s, places, y) ~ E[bits | b, y],    bits = +-1/2, one channel a class; y: the image to segment

The condition's channels are the last inputs of the network. In training classes are left out at random, and the whole
condition too, so that zeros mean "not known": one network makes images with all classes given, with some, with none.

Sources: masks as channels and their ablation, arXiv:2402.05210; images, arXiv:2111.05826; bits, arXiv:2208.04202; none,
for guidance, arXiv:2207.12598.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MASK, IMAGE, START, SEGMENT = "mask", "image", "start", "segment"
KINDS = (MASK, IMAGE, START, SEGMENT)
IMAGES = (IMAGE, START)
"""Those that are another image of the same kind and grid."""
UNKNOWN = 255
"""The value of a label map where nothing is known; class c has the value c."""
MOST_CLASSES = 64
BIT = 0.5
"""Bits of a segmentation are plus or minus this, so that their deviation is at most ``sigma_data`` of the networks."""


@dataclass(frozen=True)
class Condition:
    """What a network is told: its kind, the names of the classes, and how often they are left out in training.

    ``classes``: of label maps, in the order of their values from 0 on; none for an image. ``ablation``: chance of each
    class to be left out; ``dropped``: of the whole condition. Raises ValueError for what does not fit together.
    """

    kind: str
    classes: tuple[str, ...] = ()
    ablation: float = 0.3
    dropped: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a network cannot be told a '{self.kind}': choose from {', '.join(KINDS)}")
        named = all(isinstance(name, str) and name for name in self.classes)
        if self.kind in IMAGES and self.classes:
            raise ValueError(f"an image has no classes, found {list(self.classes)}: leave them out")
        fewest = 1 if self.kind == MASK else 2
        right = named and fewest <= len(set(self.classes)) == len(self.classes) <= MOST_CLASSES
        if self.kind not in IMAGES and not right:
            raise ValueError(
                f"expected {fewest} to {MOST_CLASSES} different names of classes for a {self.kind}, found "
                f"{list(self.classes)}: name them in the order of their values, from 0 on"
            )
        if not (0 <= self.ablation < 1 and 0 <= self.dropped < 1):
            raise ValueError(
                f"expected chances from 0 to below 1 to leave out classes, found {self.ablation} and {self.dropped}: "
                "correct them"
            )

    @property
    def channels(self) -> int:
        """Inputs of the network that it takes."""
        return len(self.classes) if self.kind == MASK else 1

    @property
    def outputs(self) -> int:
        """Channels of the image that is made: one a class of a segmentation."""
        return len(self.classes) if self.kind == SEGMENT else 1

    def to_card(self) -> dict[str, Any]:
        """As a model card holds it."""
        return {**asdict(self), "classes": list(self.classes)}


def condition_from_card(entry: dict[str, Any]) -> Condition | None:
    """What the card of a network says that it is told, None for nothing; raises ValueError as :class:`Condition`."""
    if not entry:
        return None
    if set(entry) != set(Condition.__dataclass_fields__) or not isinstance(entry["classes"], list):
        raise ValueError(f"a condition needs {sorted(Condition.__dataclass_fields__)}, found {sorted(entry)}")
    return Condition(**{**entry, "classes": tuple(entry["classes"])})


def values_of(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """The values of classes by name; raises ValueError with the names there are."""
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(f"the model knows no class '{unknown[0]}': choose from {', '.join(classes)}")
    return [list(classes).index(name) for name in names]

"""The parts of a modality's entry that are data and plain rules. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..volume import IntensityScale, Volume

if TYPE_CHECKING:
    from torch import Tensor

    from .prepared import Prepared


class Fingerprint(Protocol):
    """What of an acquisition a calibration of the spread depends on."""

    @classmethod
    def of(cls, prepared: Prepared) -> Fingerprint:
        """That of a problem."""
        ...

    @classmethod
    def stored(cls, entry: Mapping[str, Any]) -> Fingerprint:
        """That of an entry of a card."""
        ...

    def entry(self) -> dict[str, Any]:
        """JSON values that :meth:`stored` takes back, rounded for a card."""
        ...

    def fits(self, asked: Any) -> bool:
        """Whether what was calibrated for this acquisition holds for ``asked``."""
        ...

    def offset(self, asked: Any) -> float | None:
        """Where this one lies from ``asked``, 0 at the same place, along the one quantity in which a factor may be
        interpolated; None where they differ in anything else by more than the rule allows."""
        ...

    def words(self) -> str:
        """The acquisition in a few words, such as "60 views"."""
        ...


def near(one: float, other: float, factor: float) -> bool:
    """Whether two numbers of fingerprints are within a ``factor`` of each other; a little more, for rounding."""
    return one <= factor * other * 1.001 and other <= factor * one * 1.001


@dataclass(frozen=True)
class Remark:
    """What is said about measured data. ``kind``: a short name for programs; ``sentence``: for the user;
    ``certain``: a fact, not a doubt."""

    kind: str
    sentence: str
    certain: bool


@dataclass(frozen=True)
class Classical:
    """An image that is made without a prior: its result key, and its name in sentences.

    ``fitted``: it is made to explain the data, so that it can be asked whether it does; ``at_once``: without
    iterations.
    """

    name: str
    title: str
    fitted: bool = True
    at_once: bool = False


@dataclass(frozen=True)
class Smooth:
    """Broad groups of readings, over which noise averages out and what no image explains does not.

    ``sums``: of a system and images, the residual added over each group, in standard deviations of its noise: (slices,
    groups), 0 where a group has no reading; ``causes``: what may leave a smooth residual, in words.
    """

    sums: Callable[[Any, Any], Any]
    causes: str


@dataclass(frozen=True)
class Trust:
    """The rules by which results of a modality are judged, in its unit, or where that has no meaning in network units.

    ``value_range``: of the values that a reader looks at, for PSNR and SSIM; ``least``: the least possible value,
    ``least_fitted``: how low the noise of a fitted image may reach (None: there are no such limits); ``floor``: the
    least spread that is believed; ``fingerprint`` and its ``rule`` in words; ``body``: where in reference images the
    patient is; ``covariates``: of a system, the numbers of its acquisition with which typical scores move, one or a
    few; ``surrogate``: the iterates of the classical image whose likeness is asked for, network units, where the rough
    fallback is not converged enough (None: it is); ``dose``: of the settings of a scan, and of measured data or None,
    the number of views and the noise in percent of the largest reading (None where it cannot be told), on which it
    depends what can be seen; ``classes``: name, least value and upper bound of values of an image whose intervals are
    calibrated apart; ``relative``: of images, how much of their own values a network unit is, where the numbers above
    count in network units (None: in the modality's unit); ``noise_share``: the largest share of the data's norm that
    may be noise (None: the usual one).
    """

    value_range: float
    floor: float
    fingerprint: type[Fingerprint]
    rule: str
    body: Callable[[np.ndarray], np.ndarray]
    covariates: Callable[[Any], Sequence[float] | float]
    least: float | None = None
    least_fitted: float | None = None
    dose: Callable[[Any, Any], tuple[int, float | None]] | None = None
    classes: tuple[tuple[str, float, float], ...] = ()
    surrogate: Callable[[Any], Iterator[Tensor]] | None = None
    relative: Callable[[np.ndarray], float] | None = None
    noise_share: float | None = None

    def unit(self, scale: IntensityScale) -> float:
        """How much of the delivered unit the numbers above count in: 1, or a network unit of a run of this scale."""
        return 1.0 if self.relative is None else scale.scale

    def unit_of(self, images: np.ndarray) -> float:
        """The same for images without a run."""
        return 1.0 if self.relative is None else self.relative(images)


@dataclass(frozen=True)
class Parts:
    """Measured data that lie anywhere, as the files of a job's folder.

    ``copies``: where each file is now, by its name in the folder; ``written``: JSON files by name that are made anew;
    ``input`` and ``description``: names of the data and of what describes them (None: nothing does).
    """

    input: str
    description: str | None
    copies: Mapping[str, Path]
    written: Mapping[str, Any] = field(default_factory=dict)


Described = Path | Mapping[str, Any] | None
"""What describes measured data: a JSON file, its content, or nothing."""


def plain_parts(path: Path, description: Described) -> Parts:
    """A file and its description under names of their own; raises ValueError where one of them is not there."""
    name = "measured" + path.suffix.lower()
    copies: dict[str, Path] = {name: path}
    written: dict[str, Any] = {}
    if isinstance(description, Path):
        copies["description.json"] = description
    elif description is not None:
        written["description.json"] = dict(description)
    for each in copies.values():
        if not each.is_file():
            raise ValueError(f"expected a file of measured data at {each}, found none: check the path")
    return Parts(name, None if description is None else "description.json", copies, written)


@dataclass(frozen=True)
class Files:
    """Measured data on disk.

    ``names``: of the files in a job's folder; ``described``: whether the data need a description beside them.
    ``recognise``: whether a file, with its description or None, is data of this modality; ``read``: these data;
    ``write``: into a folder, returns the names of data and description; ``named``: further files that a description
    (JSON) names, by what they are; ``size``: bytes; ``summarise``: one line for the user; ``parts``: what of data that
    lie anywhere comes into a job's folder; ``greedy``: arrays of any kind are recognised, so that others are asked
    first. ``image``: an image in a format that this modality alone has, None of another file.
    """

    names: tuple[str, ...]
    described: bool
    recognise: Callable[[Path, Path | None], bool]
    read: Callable[[Path, Path | None], Any]
    write: Callable[[Any, Path], tuple[str, str | None]]
    size: Callable[[Any], int]
    summarise: Callable[[Any], str]
    named: Callable[[Any], Mapping[str, object]] = lambda description: {}
    parts: Callable[[Path, Described], Parts] = plain_parts
    greedy: bool = False
    image: Callable[[Path], Volume | None] = lambda path: None


@dataclass(frozen=True)
class Tissue:
    """Where known lesions can be inserted: voxels whose local mean lies between ``low`` and ``high``, and whose local
    standard deviation, fine noise smoothed away, is at most ``rough``; in the unit of the modality's rules of trust."""

    name: str
    low: float
    high: float
    rough: float


@dataclass(frozen=True)
class Wanted:
    """A lesion to insert: into which tissue by name, its diameter, and what it adds in the modality's unit.

    ``share``: the contrast is a share of the local mean instead.
    """

    tissue: str
    diameter_mm: float
    contrast: float
    share: bool = False


@dataclass(frozen=True)
class Cases:
    """What a modality is evaluated on: data only, the harness is in :mod:`..evaluation`.

    ``smallest_matrix``: rows and columns that slices must have; ``depths``: of the slices, as parts of the stack;
    ``binned``: pixels of the input that make one of the reconstruction; ``calibrated``: the scans, as settings, for
    which a prior is calibrated; ``training_depths``: of the slices that typical scores come from; ``fixed``: settings
    of the scan that all cases share; ``tissues``: where lesions can be inserted, ``lesions``: those of an evaluation,
    ``hunted``: the tissues, diameters and contrasts that limits of detection are measured with; ``made_of``: an image
    of known truth made of a volume of another modality, None where it cannot be: then rows say whether their ``set`` is
    simulated or real, and count invented spots.
    """

    smallest_matrix: int = 64
    depths: tuple[float, ...] = (0.25, 0.5, 0.75)
    binned: int = 1
    calibrated: tuple[Mapping[str, Any], ...] = ({},)
    typical: Callable[[np.random.Generator], Sequence[Mapping[str, Any]]] | None = None
    untested: tuple[str, ...] = ()
    training_depths: tuple[float, ...] = (0.3, 0.65)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    tissues: tuple[Tissue, ...] = ()
    lesions: tuple[Wanted, ...] = ()
    hunted: tuple[Wanted, ...] = ()
    made_of: Callable[[Volume], Volume | None] | None = None

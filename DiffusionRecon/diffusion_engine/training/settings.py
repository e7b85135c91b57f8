"""What the training of a prior is asked for: checked once, the same for Python, shell and panel. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..priors.card import FURTHER_PLANES, SLICE, VOLUME
from ..priors.conditions import SEGMENT, Condition
from .units import LINE_INTEGRAL, rule_of


@dataclass(frozen=True, kw_only=True)
class PriorTraining:
    """On what a prior is trained, which network it has, and how long and how it learns.

    ``data``: folder of volumes, of which those named in ``exclude`` validate; ``unit``: HU, a.u., SUV, or line integral
    for sinograms of CT (see :mod:`.units`); ``files``: pattern of file names; ``weigh``: pattern of source names ->
    factor on how often they are drawn; ``flip``: mirrored slices too; ``augment``: variants of the patches too (see
    :mod:`.augment`).
    ``origin``: a prior to start from instead of random weights, by name or card, of any unit; the new one has its
    network, or a wider one or one that sees more grown from it; ``size``: of the network, None as the origin's, or
    small; ``sees``: what the network sees at once, a "slice", a slice with its "neighbours", or a "volume" (patches of
    8 slices).
    ``condition``: what it is told besides, a "mask" or an "image", or the image that it is to "segment", see
    :mod:`..priors.conditions`; ``given``: folder of the label maps or other images, each at the place and with the name
    of the volume it belongs to; ``classes``: names of the labels' values from 0 on; ``ablation``: chance of a class to
    be left out.
    ``rate``: peak learning rate; ``patches``: their edges in pixels (a slice is whole in larger ones), by default as
    suits the unit; ``pixels``: of all patches of a step together; ``log_sigma``: mean and standard deviation of
    ln sigma, sigma the noise levels trained at, by default as suits the unit; ``compiled``: see
    :class:`.train.TrainingSettings`; ``processes``: that share every step on a processor (see :mod:`.team`).
    Raises ValueError, one sentence, for values out of range and unknown names.
    """

    data: Path
    steps: int
    exclude: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    origin: str | None = None
    unit: str = "HU"
    size: str | None = None
    sees: str = SLICE
    flip: bool = False
    augment: bool = False
    files: str = "*"
    weigh: Mapping[str, float] = field(default_factory=dict)
    rate: float | None = None
    patches: tuple[int, ...] = ()
    pixels: int | None = None
    log_sigma: tuple[float, ...] = ()
    compiled: bool = False
    processes: int = 1
    condition: str = ""
    given: Path | None = None
    classes: tuple[str, ...] = ()
    ablation: float = 0.3

    @property
    def told(self) -> Condition | None:
        """What the network is told, None for nothing."""
        return Condition(self.condition, self.classes, self.ablation) if self.condition else None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected 1 training step or more, found {self.steps}: choose more")
        if any(edge < 16 for edge in self.patches):
            raise ValueError(f"expected patches of 16 pixels or more, found {list(self.patches)}: choose larger ones")
        if self.pixels is not None and self.pixels < 256:
            raise ValueError(f"expected 256 pixels or more in a step, found {self.pixels}: choose more")
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"expected a learning rate above 0, found {self.rate}: choose one such as 0.02")
        if self.log_sigma and (len(self.log_sigma) != 2 or not self.log_sigma[1] > 0):
            raise ValueError(
                "expected mean and positive standard deviation of the logarithm of the noise, found "
                f"{list(self.log_sigma)}: give two numbers such as -2.8,1.1"
            )
        if self.processes < 1:
            raise ValueError(f"expected 1 process or more, found {self.processes}: choose more")
        if self.sees not in FURTHER_PLANES:
            raise ValueError(f"a network cannot see a '{self.sees}': choose from {', '.join(FURTHER_PLANES)}")
        if rule_of(self.unit).unit == LINE_INTEGRAL and self.augment:
            raise ValueError("variants of sinograms are no sinograms of variants: train on them without augmentation")
        if (self.told is None) != (self.given is None) or (self.told is None and self.classes):
            raise ValueError(
                "a network that is told something needs the condition and the folder of what is given, found "
                f"{self.condition!r} and {self.given}: give both, or neither and no classes"
            )
        if self.told is None:
            return
        if self.augment or self.sees == VOLUME or rule_of(self.unit).unit == LINE_INTEGRAL:
            raise ValueError(
                "conditions are told of slices as they are: train without augmentation, and neither on volumes nor on "
                "sinograms"
            )
        if self.condition == SEGMENT and self.sees != SLICE:
            raise ValueError(f"a segmentation is made of one slice, found that the network sees {self.sees}: use slice")

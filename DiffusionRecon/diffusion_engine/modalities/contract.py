"""What a modality brings: one entry of the table in :mod:`.table`; nothing outside this folder names one.

No torch here: a panel reads the table before any set-up. What needs it is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..volume import IntensityScale, Volume
from .rules import Cases, Classical, Files, Fingerprint, Remark, Smooth, Tissue, Trust, Wanted

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

    from ..likelihoods.gaussian import GaussianLikelihood
    from ..physics.grid import ImageGrid
    from ..priors.card import PriorCard
    from ..sampling.noise import Noise
    from .prepared import Extent, Prepared

__all__ = [
    "Asked", "Cases", "Classical", "Files", "Fingerprint", "IntensityScale", "Modality", "Remark", "Scan", "Smooth",
    "System", "Tissue", "Trust", "Wanted",
]


class Scan(Protocol):
    """The settings that a modality alone has: a frozen dataclass of JSON values, checked when it is made.

    They describe a simulated scan and how classical images are made. Settings of a run stand beside them in one flat
    JSON object, so that no name may be one of :class:`..run.settings.Settings`. Raises ValueError, one sentence, for
    values out of range.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def iterations(self, name: str) -> int:
        """Of a classical image by its name, of one that is not made at once."""
        ...


class Asked(Protocol):
    """What of the settings of a run a modality reads: its own ``scan``, the seed, and the part that is asked for."""

    @property
    def scan(self) -> Any: ...

    @property
    def seed(self) -> int: ...

    @property
    def slices(self) -> tuple[int, int] | None: ...

    @property
    def region(self) -> tuple[int, int, int, int] | None: ...

    @property
    def pixel_mm(self) -> float | None: ...

    @property
    def trust_unit(self) -> bool: ...


class System(Protocol):
    """Data bound to one grid; images (slices, rows, columns) are in network units, which are converted here alone.

    ``likelihood``: of images in network units. ``data``: as they came, first axis the slices. ``noise_std``: one
    typical standard deviation of them. ``complex_images``: whether images are complex numbers; ``imaginary_std``: of
    what is left in their imaginary part, network units, where their smooth phase was taken out, see
    :class:`..priors.real_part.RealPart`; None: a prior sees both parts, or they are real. ``conversion``: the
    numbers by name by which images in the unit of the physics become those of the modality's unit, for the report.
    """

    @property
    def grid(self) -> ImageGrid: ...

    @property
    def likelihood(self) -> Any: ...

    @property
    def data(self) -> Tensor: ...

    @property
    def noise_std(self) -> float: ...

    @property
    def complex_images(self) -> bool: ...

    @property
    def imaginary_std(self) -> float | None: ...

    @property
    def conversion(self) -> Mapping[str, float]: ...

    def select(self, index: slice | Tensor) -> Self:
        """That of some slices."""
        ...

    def with_data(self, data: Tensor) -> Self:
        """The same with other data of the same shape."""
        ...

    def start(self) -> Tensor:
        """The image that a solver starts from, made at once."""
        ...

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        """The iterates of a classical image by its name, the last one is the result."""
        ...

    def observed(self, clean: Tensor, noise: Noise) -> Self:
        """The scan of images ``clean`` with the noise law of these data, without inverse crime."""
        ...

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        """A Gaussian likelihood that stands in for this one near the images ``at``: the same where it is Gaussian."""
        ...

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        """The likelihood of images in the unit of the physics, and ``x`` in it; of counts their stand-in near ``x``.

        Its data are what :meth:`with_data` takes.
        """
        ...

    def groups(self, x: Tensor) -> Tensor:
        """Mean of the squared residual of ``x`` in units of the noise, by groups of readings: (slices, groups)."""
        ...

    def show(self, x: Tensor) -> Tensor:
        """Images as a reader sees them: the magnitude of complex ones, others as they are."""
        ...

    def describe(self) -> dict[str, Any]:
        """The acquisition as JSON values for the report."""
        ...


class Prepare(Protocol):
    """Checks a source and binds its data to grids; raises ValueError in one sentence for what cannot be used.

    ``foreseen`` is called with the size of the problem before its memory is taken.
    """

    def __call__(
        self, source: Any, asked: Asked, device: torch.device, card: PriorCard | None,
        foreseen: Callable[[Extent], object],
    ) -> Prepared: ...


Oracle = Callable[[Any, np.ndarray], "tuple[np.ndarray, Mapping[str, Sequence[Any]]]"]
"""Of a system and its reference: the best images that a classical method can make, judged by the reference itself, in
the modality's unit, and what it chose, a value a slice."""


@dataclass(frozen=True)
class Modality:
    """An entry of the table.

    ``title``: what its images are, in words; ``group``: one group of readings; ``fallback``: the classical image that
    the gate turns to and the expected error of a start is foretold from; ``question``: a sentence when a volume does
    not look like this modality; ``simulate``: a measurement from a volume, its reference image and facts for a report;
    ``in_words``: a simulated scan from its settings by name; ``oracles``: images tuned on the reference, by method
    name, for comparison only; ``solvers``: methods that were run in it and did not diverge, beside those whose entries
    in the catalogue name it; ``presets``: presets by name that serve it too, beside those whose entries name it;
    ``smooth``: broad groups of its readings, None where they have no order; ``usual``: by method, the values of its
    settings (``steps`` and ``sigma_start`` among them) that stand here in place of its own defaults; ``phase``:
    its images are complex, and the system tells their phase.
    """

    name: str
    title: str
    unit: str
    scale: IntensityScale
    scan: type[Scan]
    group: str
    classical: tuple[Classical, ...]
    fallback: str
    default_prior: str
    trust: Trust
    files: Files
    question: Callable[[Volume], str | None]
    simulate: Callable[[Volume, Asked], tuple[Any, Volume, dict[str, Any]]]
    prepare: Prepare
    in_words: Callable[[Mapping[str, Any]], str]
    cases: Cases = field(default_factory=Cases)
    solvers: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    oracles: Mapping[str, Oracle] = field(default_factory=dict)
    smooth: Smooth | None = None
    usual: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    phase: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """What a run makes: the classical images by name, and draws with a prior."""
        return (*(image.name for image in self.classical), DIFFUSION)

    def image(self, name: str) -> Classical:
        """A classical image by its name."""
        return next(image for image in self.classical if image.name == name)

    def is_fitted(self, key: str) -> bool:
        """Whether an image by result key was made to explain the data, as the mean of draws is."""
        return all(image.fitted for image in self.classical if image.name == key)


DIFFUSION = "diffusion"
"""The method of a run that is no classical image: draws with a prior."""

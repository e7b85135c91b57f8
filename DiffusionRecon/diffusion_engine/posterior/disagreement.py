"""Where in the image the data ask for something that is not there: a matched filter of the residual.

    r = G A'V^-1 (y - A x) / std,    std^2 = diag(G A'V^-1 A G)

G: a Gaussian window, the template of a small lesion. r is the residual map of :mod:`.residual_map` for images G u in
place of u: of variance 1 where y - A x is nothing but noise, and largest, among all linear filters, at a missing
lesion of the window's shape. Of complex images it is the part along the image: brighter or darker.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.root import filtered, gaussian_window
from ..physics.operator import LinearOperator, view_axis
from ..sampling.noise import Noise
from .residual_map import residual_map

WIDTH_PIXELS = 1.6


@dataclass(frozen=True, eq=False)
class Templates:
    """u -> A G u: ``spectrum`` (rows, columns) of the window G, real and even."""

    operator: LinearOperator
    spectrum: Tensor

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.operator.out_shape

    @property
    def view_axis(self) -> int:
        return view_axis(self.operator)

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(filtered(x, self.spectrum))

    def adjoint(self, y: Tensor) -> Tensor:
        return filtered(self.operator.adjoint(y), self.spectrum)

    def of_images(self, index: slice | Tensor) -> Templates:
        """The same for some images, where the operator differs from image to image."""
        own = getattr(self.operator, "of_images", None)
        return self if own is None else Templates(own(index), self.spectrum)


def disagreement(likelihood: GaussianLikelihood, x: Tensor, noise: Noise, pixels: float = WIDTH_PIXELS) -> Tensor:
    """r of images ``x`` (batch, rows, columns), the likelihood's units; real, without meaning where no ray meets them.

    ``pixels``: standard deviation of the window.
    """
    window = gaussian_window(x.shape[-2:], pixels, x).to(x.real.dtype)
    left = likelihood.data - likelihood.operator.forward(x)
    templates = GaussianLikelihood(Templates(likelihood.operator, window), left, likelihood.variance)
    found = residual_map(templates, torch.zeros_like(x), noise)
    if not found.is_complex():
        return found
    size = x.abs()
    # Where there is no image there is no phase to go along.
    along = torch.where(size > 0, x / size.clamp_min(torch.finfo(size.dtype).tiny), 1.0)
    return (found * along.conj()).real

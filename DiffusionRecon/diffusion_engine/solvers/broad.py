"""Room for broad structure that a network may have missed, in the prior's covariance of a data step.

Where a network is sure of an image, its own variance is next to nothing, and a small faint lesion that it never saw is
noise to it: the data may then not move the image, and the spread of draws says nothing. A stationary part of the
covariance, smooth over a few pixels and the same at all noise levels, keeps such a lesion possible (covariance
inflation, doi:10.1175/1520-0493(1999)127<2741:AMCIOT>2.0.CO;2, with a smooth spectrum).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..likelihoods.root import Root, broad_spectrum


@dataclass(frozen=True)
class Broad:
    """``broad_std``: standard deviation of the part, network units (0: none); ``broad_pixels``: width of its window.

    See :func:`..likelihoods.root.broad_spectrum`.
    """

    broad_std: float = 0.012
    broad_pixels: float = 1.6

    def spectrum(self, like: Tensor) -> Tensor | None:
        """Its amplitudes for images (..., rows, columns) as ``like``."""
        return broad_spectrum(like.shape[-2:], self.broad_std, self.broad_pixels, like)

    def root(self, variance: float | Tensor, like: Tensor) -> Root:
        """R of the whole covariance, ``variance`` being that of pixels; ``like``: images of their shape."""
        return Root(variance**0.5, self.spectrum(like))

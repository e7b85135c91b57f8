"""Posterior denoising of a PET image whose raw data are not there: its own projections stand in their place.

Near its maximum y the likelihood of counts is that of a Gaussian in the image,

    log p(d | x) ~ -(x - y)' A' W A (x - y) / 2 = -|A x - A y|^2_W / 2,

so the projections A y of an image, without noise of their own, say of x what the counts said of it, with W = 1 / (A y +
b) of as many counts as the image was made from. What the image has lost by its filter or its few iterations stays lost,
and its noise is believed to be no larger than that of an image at the maximum: the dose has to be told. No torch here.
"""

from __future__ import annotations

from .scan import PETScan


def said_of(scan: PETScan) -> str:
    """The sentence by which such a result is known."""
    return (
        f"Posterior denoising without raw data: the volume was taken as the image of a scan of {scan.counts:g} million "
        f"true coincidences a slice and {scan.background_percent:g} % background, and its projections stand in place "
        "of the counts. They have no noise of their own, so that no residual is tested. What the image has lost to "
        "filters and iterations stays lost; with another number of counts the result is another."
    )

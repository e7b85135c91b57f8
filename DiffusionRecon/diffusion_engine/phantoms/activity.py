"""FDG as it might lie in a given body: activity drawn at random for the tissues of a CT or of an MR image of the brain.

What a prior is to learn is how activity follows anatomy, not a table of uptakes: every region of the body has an uptake
of its own, drawn anew each time within wide ranges, and regions follow the CT's edges. Organs are not named; heart,
kidneys, bladder and lesions are laid into the body where there is room for them (see :mod:`.hot_spots`). Uptakes and
texture are those of clinical FDG images an hour after injection, in SUV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .hot_spots import lay_organs, lesions

LUNG_ML, KEPT_PART = 100.0, 0.04
"""Air in the body is lung from this volume on; parts of the body below this share of the largest are not body."""
PLATE_MM = 5.0
"""What is thinner is a table or a blanket."""
WALL_MM = 26.0
"""Down to this depth under the skin there is skin, fat and muscle, as a rule."""
ORGAN_UPTAKES = ((0.20, 0.4, 0.9), (0.47, 0.8, 2.2), (0.25, 1.4, 3.4), (0.08, 2.5, 7.0))
"""Share of the inner regions, lowest and highest SUV: quiet, usual, liver-like, and bowel-like ones."""


@dataclass(frozen=True, eq=False)
class Body:
    """Masks (slices, rows, columns) of a CT: the whole body, and lungs, gas, fat, bone in it; ``depth``: mm to the skin
    in the plane."""

    whole: np.ndarray
    lungs: np.ndarray
    gas: np.ndarray
    fat: np.ndarray
    bone: np.ndarray
    depth: np.ndarray

    @property
    def soft(self) -> np.ndarray:
        """The rest: muscle, organs, blood."""
        return self.whole & ~(self.lungs | self.gas | self.fat | self.bone)


def body_of(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> Body:
    """Tissues of a CT (slices, rows, columns) in HU by thresholds; ``spacing_mm``: (slice, row, column)."""
    # The plates of a table are thinner than the wall of a chest.
    steps = max(1, round(PLATE_MM / 2 / spacing_mm[1]))
    dense = ndimage.binary_opening(hu > -300, np.ones((1, 3, 3)), iterations=steps)
    parts, count = ndimage.label(dense)
    if count == 0:
        raise ValueError("expected a CT with a body in it, found nothing above -300 HU: is it in HU?")
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    whole = np.stack([ndimage.binary_fill_holes(part) for part in (sizes > KEPT_PART * sizes.max())[parts]])
    whole = np.stack([ndimage.binary_dilation(part, iterations=1) for part in whole]) & (whole | (hu > -300))
    air, count = ndimage.label(whole & (hu < -400))
    volumes = np.bincount(air.ravel(), minlength=count + 1) * float(np.prod(spacing_mm)) / 1000
    volumes[0] = 0.0
    lungs = (volumes > LUNG_ML)[air]
    depth = np.stack([ndimage.distance_transform_edt(part, spacing_mm[1:]) for part in whole])
    return Body(whole, lungs, (air > 0) & ~lungs, whole & (hu >= -400) & (hu < -25), whole & (hu > 200), depth)


def activity_of_ct(hu: np.ndarray, spacing_mm: tuple[float, float, float], seed: int) -> np.ndarray:
    """Activity in SUV (float32) of a body with the CT ``hu`` (slices, rows, columns), i to the left, j posterior.

    Raises ValueError where no body is seen.
    """
    rng = np.random.default_rng((seed, 31))
    body = body_of(hu, spacing_mm)
    muscle = rng.uniform(0.4, 1.1)
    activity = np.zeros(hu.shape)
    activity[body.soft] = muscle
    activity[body.fat] = rng.uniform(0.12, 0.4)
    activity[body.lungs] = rng.uniform(0.25, 0.75)
    activity[body.gas] = rng.uniform(0.05, 0.5)
    activity[body.bone] = rng.uniform(0.3, 0.8)
    spongy = body.bone & (hu < rng.uniform(350, 600))
    activity[spongy] = rng.uniform(0.8, 2.6)
    smooth = ndimage.gaussian_filter(hu.astype(np.float64), [3.0 / s for s in spacing_mm])
    inner = body.soft & (body.depth > WALL_MM * rng.uniform(0.8, 1.4))
    if inner.any():
        region = _regions(np.clip(smooth, -150, 250), inner, spacing_mm, rng)
        organs = _organ_uptakes(int(region.max()) + 1, rng)
        # Muscle reaches deep in shoulders, back and limbs.
        organs[rng.random(len(organs)) < rng.uniform(0.0, 0.6)] = muscle
        activity[inner] = organs[region]
    outer = body.soft & ~inner
    if outer.any():
        region = _regions(np.clip(smooth, -50, 120), outer, spacing_mm, rng)
        activity[outer] = muscle * np.exp(rng.normal(0, 0.2, int(region.max()) + 1))[region]
    # Denser tissue takes up a little more, or less, which prints the CT's finer structure.
    activity *= np.exp(rng.normal(0, 0.25) * np.clip((hu - smooth) / 60, -1, 1))
    lay_organs(activity, body.whole, body.lungs, spacing_mm, rng)
    lesions(activity, body.whole, spacing_mm, rng)
    activity *= np.exp(rng.uniform(0.03, 0.18) * grain(hu.shape, spacing_mm, rng.uniform(8, 22), rng))
    return np.where(body.whole, activity, 0.0).astype(np.float32)


def activity_of_brain(t1: np.ndarray, spacing_mm: tuple[float, float, float], seed: int) -> np.ndarray:
    """Activity in SUV (float32) of a head whose brain is given by a T1-weighted image without its skull.

    Cortex and nuclei, of middling intensity, take up two to four times what white matter does, fluid next to nothing;
    a scalp with the skull between is laid around. Raises ValueError for an image without a brain.
    """
    rng = np.random.default_rng((seed, 32))
    brain = ndimage.binary_closing(t1 > 0.08 * np.percentile(t1, 99.5), iterations=2)
    if not brain.any():
        raise ValueError("expected a T1-weighted image of a brain, found no voxel with signal: check the volume")
    fluid, grey, white = np.percentile(t1[brain], (4, 40, 85))
    smooth = ndimage.gaussian_filter(t1.astype(np.float64), [0.6 / s for s in spacing_mm])
    top = rng.uniform(5, 13)
    levels = (0.05 * top, top, top * rng.uniform(0.25, 0.5))
    activity = np.where(brain, np.interp(smooth, (fluid, grey, white), levels), 0.0)
    away = ndimage.distance_transform_edt(~brain, spacing_mm)
    skull, scalp = rng.uniform(5, 9), rng.uniform(10, 18)
    activity[(away > 0) & (away <= skull)] = rng.uniform(0.3, 0.8)
    activity[(away > skull) & (away <= scalp)] = rng.uniform(0.6, 1.6)
    side = np.linspace(-1, 1, t1.shape[2]) * rng.normal(0, 0.06)
    activity *= 1 + side + np.linspace(-1, 1, t1.shape[1])[:, None] * rng.normal(0, 0.1)
    lesions(activity, brain, spacing_mm, rng, most=2)
    activity *= np.exp(rng.uniform(0.03, 0.12) * grain(t1.shape, spacing_mm, rng.uniform(8, 20), rng))
    return np.maximum(activity, 0).astype(np.float32)


def at_resolution(
    activity: np.ndarray, spacing_mm: tuple[float, float, float], fwhm_mm: float, parts: int = 1
) -> np.ndarray:
    """Activity as a scanner of that resolution shows it without noise: means over ``parts``^2 pixels of the plane."""
    sigma = [fwhm_mm / 2.3548 / s for s in spacing_mm]
    blurred = ndimage.gaussian_filter(activity.astype(np.float64), sigma, mode="constant")
    k, j, i = blurred.shape
    cut = blurred[:, : j - j % parts, : i - i % parts]
    return cut.reshape(k, j // parts, parts, i // parts, parts).mean((2, 4)).astype(np.float32)


def grain(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], size_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1 with grains of ``size_mm``, on any shape."""
    white = rng.standard_normal(shape)
    smooth = ndimage.gaussian_filter(white, [size_mm / 2.3548 / s for s in spacing_mm], mode="wrap")
    return (smooth - smooth.mean()) / max(float(smooth.std()), 1e-12)


def _regions(
    smooth: np.ndarray, inside: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """A number for each voxel ``inside``: the nearest of random seeds, in place and in CT number together.

    Regions of 2 to 12 cm that end where the CT number changes by some 12 to 40 HU.
    """
    size, step = np.exp(rng.uniform(np.log(20), np.log(120))), rng.uniform(12, 40)
    places = np.argwhere(inside)
    ranges = np.asarray(spacing_mm) / size
    features = np.column_stack((places * ranges, smooth[inside] / step))
    volume = len(places) * float(np.prod(spacing_mm))
    count = int(np.clip(2 * volume / size**3, 4, 400))
    seeds = features[rng.integers(len(features), size=count)]
    return cKDTree(seeds).query(features)[1]


def _organ_uptakes(count: int, rng: np.random.Generator) -> np.ndarray:
    shares = np.array([share for share, _, _ in ORGAN_UPTAKES])
    kind = rng.choice(len(shares), size=count, p=shares / shares.sum())
    low, high = (np.array([entry[n] for entry in ORGAN_UPTAKES]) for n in (1, 2))
    return rng.uniform(low[kind], high[kind])

"""Whether a volume's values look like CT in HU: its extremes, and where its histogram has air and soft tissue.

The marks of CT in HU are air near -1000 and soft tissue from -100 to 100. A crop without air has only the second; a
scan circle may have padding outside, one value below all others. What fits neither is asked about, with what was found.
"""

from __future__ import annotations

import math

import numpy as np

from ...volume import Volume

HIGHEST_HU = 31_743.0
"""The largest CT number that scanners store: 16 bits with the offset -1024 (metal on the extended scale)."""
LOWEST_PADDING = -33_792.0
"""The least padding: -32768 with the offset -1024."""
BELOW_AIR = -1060.0
"""Air's own peak lies above; noise spreads it further, but a peak of its own below is none of air."""
NO_TISSUE = -600.0
"""Air and lung lie below, all other tissue above."""
NO_PADDING = ((-2026.0, -2022.0), (-10_240.0, -10_000.0))
"""Where air lies with its offset of -1024 applied twice, or times ten: no program pads with these."""
PADDING_SHARE = 1e-3
AIR_SHARE = 1e-3
TISSUE_SHARE = 5e-3
NO_BODY = "hold nothing denser than lung: is this CT in HU, and is the patient in it?"
SAMPLE = 2_000_000
"""About so many voxels, evenly spread, make the histogram."""
BIN = 25.0


def padding(volume: Volume) -> tuple[float, float] | None:
    """Value and share of the voxels of padding, None without: one least value below -1060 HU in 0.1 % of the voxels.

    Ten voxels at least, since single ones may be noise.
    """
    low = float(volume.array.min())
    if low >= BELOW_AIR or any(least <= low <= most for least, most in NO_PADDING):
        return None
    count = int(np.count_nonzero(volume.array == low))
    share = count / volume.array.size
    return (low, share) if count >= 10 and share >= PADDING_SHARE else None


def question_hu(volume: Volume) -> str | None:
    """A sentence when the values do not look like CT in HU, None when they do.

    A question to the user, no proof: a specimen of bone is questioned too. Voxels must be finite.
    """
    if volume.unit not in ("HU", "a.u."):
        return f"The values are in {volume.unit}, CT in HU was expected: convert them or choose another image."
    low, high = float(volume.array.min()), float(volume.array.max())
    found = f"values from {low:.4g} to {high:.4g}"
    if high > HIGHEST_HU or low < LOWEST_PADDING:
        beyond = float(np.count_nonzero((volume.array > HIGHEST_HU) | (volume.array < LOWEST_PADDING)))
        return (
            f"These {found} are beyond any CT number in HU ({100 * beyond / volume.array.size:.2g} % of the voxels; no "
            f"scanner stores more than {HIGHEST_HU:.0f}): are they padding, or is the rescaling not applied?"
        )
    filler = padding(volume)
    values = _sample(volume.array)
    if filler is not None:
        values = values[values > low]
        found += f" ({low:.4g} in {100 * filler[1]:.2g} % of the voxels, as padding)"
    if low == high > -200:
        return f"All voxels are {low:.4g}: is this an image, and is the patient in it?"
    reason = (_doubt(values, low, high) or _masked(volume.array)) if values.size else NO_BODY
    return None if reason is None else f"These {found} {reason}"


def _doubt(values: np.ndarray, low: float, high: float) -> str | None:
    """What speaks against HU in values without padding, the end of a sentence.

    ``low`` and ``high``: the extremes of all voxels, padding too.
    """
    lowest = float(values.min())
    peaks = f"most of them near {_peaks(values)}"
    if lowest >= 0:
        return (
            f"are nowhere negative, {peaks}, CT in HU has air near -1000 and soft tissue near 0: is this MR or PET, or "
            "CT without its offset (raw numbers from 0, or HU + 1000)?"
        )
    if -200 < high < lowest + 100:
        return f"span only {high - lowest:.3g}, CT in HU spans hundreds: are they normalised or in other units?"

    def share(least: float, most: float) -> float:
        return float(np.count_nonzero((values >= least) & (values < most))) / values.size

    below, air, soft = share(-math.inf, BELOW_AIR), share(BELOW_AIR, NO_TISSUE), share(-250, 250)
    if below > 0.4 or _rises_again(values, 0.02 if lowest == low else 0.05):
        return (
            f"are below air (-1000 HU) in {100 * below:.0f} % of the image, {peaks}: is the offset applied twice, or "
            "are they in other units?"
        )
    if high < -200:
        return NO_BODY
    if share(3100, math.inf) > 0.1:
        return f"are above 3100 HU in {100 * share(3100, math.inf):.2g} % of the image, as only metal is: is this CT?"
    bulk, limit = share(850, 1250), 0.01 if air < AIR_SHARE else max(0.1, soft / 4)
    # Bone thins out from 300 HU on; what has a peak of its own near 1000 is soft tissue without its offset.
    if bulk > limit and bulk / 400 > 3 * share(450, 800) / 350:
        return (
            f"have {100 * bulk:.2g} % of the image near 1000 HU, {peaks}, CT in HU has air near -1000 and soft tissue "
            "near 0: is the offset (rescale intercept) missing?"
        )
    if air >= AIR_SHARE:
        lung, between, dense = share(-930, NO_TISSUE), share(NO_TISSUE, -250), share(250, math.inf)
        if soft < TISSUE_SHARE or (soft < between / 2 and lung < 0.3) or soft < dense / 5:
            return (
                f"hold hardly any soft tissue ({100 * soft:.2g} % from -250 to 250 HU), {peaks}: is this CT in HU, "
                "and is the patient in it?"
            )
        return None
    most = float(np.unique(values, return_counts=True)[1].max()) / values.size
    # Fat and noise thin out downwards; a background, or air in other units, is piled up at the lower end.
    least, largest = (float(v) for v in np.quantile(values, (0.001, 0.999)))
    piled = share(-math.inf, least + min(10.0, (largest - least) / 10))
    if share(-math.inf, 0) < 0.01 or soft < 0.75 or most > 0.2 or piled > 0.25:
        return (
            f"hold almost no air (below -600 HU) and are no crop of soft tissue, {peaks}: is this CT in HU, with its "
            "offset and unmasked?"
        )
    return None


def _masked(array: np.ndarray) -> str | None:
    """What speaks against the edges of the slices, the end of a sentence: one exact value there that is none of air."""
    edges = np.concatenate([array[:, [0, -1]].ravel(), array[:, :, [0, -1]].ravel()])
    found, counts = np.unique(edges, return_counts=True)
    value, share = float(found[counts.argmax()]), float(counts.max()) / edges.size
    if share < 0.5 or value < NO_TISSUE:
        return None
    return (
        f"are exactly {value:.4g} at {100 * share:.0f} % of the slices' edges, where CT has air or a body's "
        "noise: is this background that was masked or filled? Fill it with -1000"
    )


def _sample(array: np.ndarray) -> np.ndarray:
    """About SAMPLE voxels, evenly spread over all columns."""
    array = array.astype(np.uint8) if array.dtype == bool else array
    step = max(1, array.size // SAMPLE)
    while math.gcd(step, array.shape[2]) > 1:
        step += 1
    return array.reshape(-1)[::step]


def _rises_again(values: np.ndarray, part: float) -> bool:
    """Whether ``part`` of the values is a peak of their own below air, which is not only the foot of air's.

    The edge of resampled padding spreads over hundreds of HU, so that no 75 of them hold as much as a peak does.
    """
    low = float(values.min())
    if low >= BELOW_AIR:
        return False
    edges = BELOW_AIR + BIN * np.arange(-math.ceil((BELOW_AIR - low) / BIN) - 1, 2)
    counts = np.histogram(values, edges)[0]
    peak = np.convolve(counts[:-1], np.ones(3)).max()
    return bool(peak > part * values.size and counts[:-1].max() > 2 * counts[-1])


def _peaks(values: np.ndarray) -> str:
    """The two highest peaks of the histogram, at least 200 HU (or a tenth of the range) apart, in words."""
    low, high = float(values.min()), float(values.max())
    width = min(BIN, (high - low) / 200) or 1.0
    counts, edges = np.histogram(values, np.arange(low, high + 2 * width, width))
    first = int(counts.argmax())
    near = np.abs(edges[:-1] - edges[first]) < max(8 * width, min(200.0, (high - low) / 10))
    second = int(np.where(near, 0, counts).argmax())
    places = [float(values[(values >= edges[n]) & (values <= edges[n + 1])].mean()) for n in (first, second)
              if counts[n]]
    return " and ".join(f"{place:.3g}" for place in sorted(places))

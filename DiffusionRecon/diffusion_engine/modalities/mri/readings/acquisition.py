"""From the sorted readouts of an acquisition to k-space: oversampling off, slices in order, geometry, noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..kspace import KSpace
from .description import Description
from .header import Encoding
from .lines import Gridded, Lines, covariance, size_of, to_grid
from .placing import directions_ok, ijk_to_ras, slice_order
from .raw import Raw, finished
from .transforms import decoupled, doubt_of_cut, thinned, without_oversampling


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Lines of one image by what they are for.

    ``apart``: of a calibration that is no part of the image, with its encoding; ``noise``: readouts (lines, coils,
    samples); ``dwell_us``: of imaging and noise samples, 0 where not stated; ``noise_bandwidth``: of the receiver;
    ``positions``: of the slices' middles, mm, and ``directions``: of columns, rows and slices, as columns, both in
    LPS, by slice index.
    """

    imaging: Lines
    encoding: Encoding
    positions: dict[int, np.ndarray]
    directions: dict[int, np.ndarray]
    apart: Lines | None = None
    apart_encoding: Encoding | None = None
    noise: np.ndarray | None = None
    dwell_us: tuple[float, float] = (0.0, 0.0)
    noise_bandwidth: float = 1.0


def to_kspace(found: Acquisition, raw: Raw, description: Description, path: Path) -> KSpace:
    """The k-space of an acquisition; ``raw`` carries remarks and facts. Raises ValueError, one sentence."""
    encoding, lines = found.encoding, found.imaging
    samples = lines.data.shape[-1]
    readout = round(encoding.matrix[0]) if encoding.matrix[0] >= 1 else samples
    factor = _oversampling(encoding, description, raw)
    columns = round(readout / factor)
    slices = np.unique(lines.index["slice"])
    slices, distance = _sorted_slices(slices, found)
    whole = to_grid(lines, slices, encoding, raw, readout)
    averages = _averages(whole, raw)
    doubt = doubt_of_cut(whole.values, columns) if columns != whole.values.shape[-1] else None
    if doubt is not None:
        raw.remark("signal_cut", doubt, False)
    values, mask = _without_oversampling(whole, columns)
    rows, partitions = values.shape[3], values.shape[1]
    if found.noise is not None:
        raw.noise_covariance = _noise(found, averages, raw)
    if found.apart is not None and found.apart_encoding is not None:
        raw.calibration = _apart(found, slices, raw, readout, columns, values.shape)
    _geometry(found, raw, slices, distance, (columns, rows, partitions), readout)
    if factor != 1:
        raw.facts["oversampling_removed"] = round(factor, 4)
    if partitions == 1:
        raw.values, raw.mask = values[:, 0], mask[:, 0]
    elif len(slices) == 1:
        raw.values, raw.mask, order = decoupled(values[0], mask[0])
        if raw.calibration is not None:
            raw.calibration = None
            raw.remark("calibration_left_out", "The 3D calibration that was acquired apart was left out.")
        raw.turned(order)
    else:
        raise ValueError(f"expected one slab, found {len(slices)} slabs of {partitions} partitions: split the file")
    return finished(raw, description, path)


def _oversampling(encoding: Encoding, description: Description, raw: Raw) -> float:
    """Of the readout: as described or stated; 1, and asked about, where neither says."""
    if description.oversampling is not None:
        return description.oversampling
    factor = encoding.oversampling
    if factor is None:
        if not 0 < encoding.matrix[0] == encoding.image_matrix[0]:
            raw.remark("no_oversampling", "The header does not state whether its readouts are oversampled; they were "
                                          "taken as they are: say \"oversampling\" in the description.", False)
        return 1.0
    if factor < 0.99:
        raise ValueError(
            f"expected a field of view of k-space at least as wide as the image's, found {encoding.fov_mm[0]:g} mm for "
            f"{encoding.image_fov_mm[0]:g} mm: correct the header, or say \"oversampling\" in the description"
        )
    return 1.0 if factor < 1.01 else factor


def _sorted_slices(slices: np.ndarray, found: Acquisition) -> tuple[np.ndarray, float | None]:
    """The slices in spatial order, and their distance, None where it cannot be told."""
    first = found.directions[int(slices[0])]
    if len(slices) == 1 or not directions_ok(first):
        return slices, None
    same = all(np.allclose(found.directions[int(n)], first, atol=1e-3) for n in slices)
    if not same:
        return slices, None
    order, distance = slice_order(np.stack([found.positions[int(n)] for n in slices]), first[:, 2])
    return slices[order], distance


def _averages(whole: Gridded, raw: Raw) -> int:
    """How often a sample was measured at least; a remark where more than once."""
    seen = whole.times[whole.times > 0]
    if seen.size == 0:
        raise ValueError("expected imaging readouts, found none that are to be used: give the raw data of the image")
    least, most = int(seen.min()), int(seen.max())
    if most > 1:
        times = f"{most} times" if least == most else f"{least} to {most} times"
        raw.remark("averaged", f"Samples were measured {times} and averaged."
                   + ("" if least == most else " Their different noise is not known to the reconstruction."))
        raw.facts["averages"] = most
    return least


def _without_oversampling(whole: Gridded, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and mask on ``columns`` columns: the middle of the image along the readout."""
    mask = whole.times > 0
    if columns == mask.shape[-1]:
        return whole.values, mask
    mask = thinned(mask, columns)
    return without_oversampling(whole.values, columns) * mask[:, :, None], mask


def _noise(found: Acquisition, averages: int, raw: Raw) -> np.ndarray:
    """The covariance of imaging samples; their bandwidth is another one than the noise scan's."""
    assert found.noise is not None
    imaging, noise = found.dwell_us
    scale = 1.0
    if imaging > 0 and noise > 0:
        scale = noise / (imaging * found.noise_bandwidth)
    else:
        raw.remark("no_dwell", "The dwell time of the image or of the noise scan is not stated; the noise was taken to "
                               "be the same in both.", False)
    raw.facts["noise_samples"] = int(found.noise.shape[0] * found.noise.shape[2])
    if found.noise.shape[1] != found.imaging.data.shape[1]:
        raise ValueError(f"expected a noise scan of {found.imaging.data.shape[1]} coils, found {found.noise.shape[1]}: "
                         "give that of the same coils")
    return covariance(found.noise, scale, averages)


def _apart(
    found: Acquisition, slices: np.ndarray, raw: Raw, readout: int, columns: int, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Calibration lines on the image's grid, None and a remark where they do not fit it."""
    lines, own = found.apart, found.apart_encoding
    assert lines is not None
    assert own is not None
    known = np.isin(lines.index["slice"], slices)
    same = all(
        a == 0 or b == 0 or abs(a / b - 1) < 0.01 for a, b in zip(own.fov_mm, found.encoding.fov_mm, strict=True)
    )
    complete = known.all() and len(np.unique(lines.index["slice"])) == shape[0]
    if not (same and complete and lines.data.shape[1] == shape[2]):
        raw.remark("calibration_left_out", "The calibration that was acquired apart has another field of view, other "
                                           "slices or other coils; it was left out.")
        return None
    def centre(stated: int | None, size: float, name: str, last: int | None) -> int:
        return size_of(size, lines.index[name], last) // 2 if stated is None else stated

    grid = to_grid(lines, slices, Encoding(
        own.trajectory, (own.matrix[0], shape[3], shape[1]), own.fov_mm,
        centre_line=centre(own.centre_line, own.matrix[1], "line", own.last_line),
        centre_partition=centre(own.centre_partition, own.matrix[2], "partition", own.last_partition),
    ), raw, readout)
    raw.facts["calibration_lines"] = int((grid.times > 0).any(-1).sum())
    return _without_oversampling(grid, columns)[0][:, 0] if shape[1] == 1 else None


def _geometry(
    found: Acquisition, raw: Raw, slices: np.ndarray, distance: float | None, sizes: tuple[int, int, int], readout: int
) -> None:
    """Pixel size and place of the stack (columns, rows, partitions), as far as the file states them."""
    wide, tall, deep = found.encoding.fov_mm
    columns, rows, partitions = sizes
    if wide > 0 and tall > 0:
        raw.pixel_mm = (tall / rows, wide / readout)
    thickness = deep / partitions if deep > 0 else found.encoding.image_fov_mm[2]
    raw.slice_spacing_mm = distance if len(slices) > 1 else (thickness or None)
    directions = found.directions[int(slices[0])]
    if raw.pixel_mm is None or raw.slice_spacing_mm is None or not directions_ok(directions):
        return
    # A left-handed slice direction is followed: slices are stored in the order of the normal.
    middle = (columns // 2, rows // 2, partitions // 2 if partitions > 1 else 0)
    raw.ijk_to_ras = ijk_to_ras(
        directions, found.positions[int(slices[0])], (raw.pixel_mm[1], raw.pixel_mm[0], raw.slice_spacing_mm), middle
    )

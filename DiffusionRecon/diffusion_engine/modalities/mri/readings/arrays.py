"""Plain arrays as k-space: NumPy .npy and .npz, MATLAB .mat (also v7.3), with a JSON description of their axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..kspace import KSpace
from .description import Description
from .loading import load_array
from .masks import checked_pattern, measured
from .raw import Raw, finished
from .transforms import decoupled, doubt_of_cut, thinned, without_oversampling

EXAMPLE = {3: '["coil", "row", "column"]', 4: '["slice", "coil", "row", "column"]'}
CANONICAL = ("contrast", "repetition", "average", "slice", "coil", "row", "column")


def read_arrays(path: Path, description: Description) -> KSpace:
    """The k-space of a .npy, .npz or .mat file; raises ValueError, one sentence, for what cannot be told."""
    array = load_array(path, description.variable)
    return kspace_of(array, path, description, "MATLAB" if path.suffix.lower() == ".mat" else "NumPy")


def kspace_of(array: np.ndarray, path: Path, description: Description, name: str) -> KSpace:
    """The k-space of an array whose axes the description names."""
    axes = description.axes or _plain_axes(array, path)
    try:
        whole = _arranged(array, axes, path)
        values, remarks = _one_image(whole, description)
        if not np.iscomplexobj(values):
            raise ValueError(f"expected complex numbers, found {values.dtype}: a magnitude has lost its phase")
        values = values.astype(np.complex64)
        pattern = None
        if description.pattern is not None:
            kept = tuple(axis for axis in axes if axis not in ("coil", "average", "contrast", "repetition"))
            found = checked_pattern(load_array(description.file(description.pattern), None), description.pattern)
            pattern = _fitted(found, kept, path, "mask")[0, 0, 0, :, 0]
        maps = None
        if description.maps is not None:
            kept = tuple(axis for axis in axes if axis not in ("average", "contrast", "repetition"))
            maps = _fitted(load_array(description.file(description.maps), None), kept, path, "coil maps")[0, 0, 0]
        if description.centre == "corner":
            shifted = (0, 2, 3) if "partition" in axes else (2, 3)
            values = np.fft.fftshift(values, shifted)
            pattern = None if pattern is None else np.fft.fftshift(pattern, [n - (n > 0) for n in shifted])
        mask = measured(values, description, pattern)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    raw = Raw(name, values, mask, maps=maps)
    for kind, sentence in remarks:
        raw.remark(kind, sentence)
    return from_whole(raw, description, path, "partition" in axes)


def from_whole(
    raw: Raw, description: Description, path: Path, three: bool, oversampling: float | None = None
) -> KSpace:
    """K-space of a :class:`Raw` whose readout may be oversampled and, if ``three``, whose slices are partitions."""
    factor = description.oversampling or oversampling or 1.0
    if factor < 0.99:
        raise ValueError(f"{path.name}: expected an oversampling of at least 1, found {factor:g}: correct it")
    bad = int((~np.isfinite(raw.values)).sum())
    if bad:
        raise ValueError(f"{path.name}: expected finite samples, found {bad} that are NaN or infinite: repair them")
    columns = raw.values.shape[-1]
    size = round(columns / factor)
    if size != columns:
        doubt = doubt_of_cut(raw.values, size)
        if doubt is not None:
            raw.remark("signal_cut", doubt, False)
        raw.mask = thinned(raw.mask, size)
        raw.values = without_oversampling(raw.values, size) * raw.mask[:, None]
        raw.facts["oversampling_removed"] = factor
    if three:
        try:
            raw.values, raw.mask, order = decoupled(raw.values, np.broadcast_to(
                raw.mask, (len(raw.values), *raw.mask.shape[1:])))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        if raw.maps is not None:
            axes = [(0, 2, 3)[n] for n in order]
            raw.maps = raw.maps.transpose(axes[0], 1, axes[1], axes[2])
        raw.turned(order)
    return finished(raw, description, path)


def _plain_axes(array: np.ndarray, path: Path) -> tuple[str, ...]:
    """The axes of an array of two, which need no description; ValueError that asks for those of others."""
    if array.ndim == 2:
        return ("row", "column")
    raise ValueError(
        f"{path.name}: expected a description that names the axes of shape {array.shape}, found none: write "
        f"{path.stem}.json with such as \"axes\": {EXAMPLE.get(array.ndim, EXAMPLE[4])}"
    )


def _arranged(array: np.ndarray, axes: tuple[str, ...], path: Path) -> np.ndarray:
    """The array with all of the canonical axes, those that it lacks of length 1; partitions stand for slices."""
    if array.ndim != len(axes):
        raise ValueError(
            f"expected {len(axes)} axes as described ({', '.join(axes)}), found shape {array.shape}: correct \"axes\""
        )
    if {"partition", "slice"} <= set(axes):
        raise ValueError("expected slices or partitions, found both among the axes: give one slab at a time")
    names = ["slice" if axis == "partition" else axis for axis in axes]
    order = [names.index(axis) for axis in CANONICAL if axis in names]
    shape = [array.shape[names.index(axis)] if axis in names else 1 for axis in CANONICAL]
    return array.transpose(order).reshape(shape)


def _fitted(array: np.ndarray, axes: tuple[str, ...], path: Path, what: str) -> np.ndarray:
    """The canonical form of a mask or maps with some of the k-space's axes; those of one slice may serve all."""
    if array.ndim == len(axes) - 1:
        axes = tuple(axis for axis in axes if axis not in ("slice", "partition"))
    if array.ndim != len(axes):
        raise ValueError(
            f"expected {what} with the axes {', '.join(axes)} of the k-space, found shape {array.shape}: put its axes "
            "in that order"
        )
    return _arranged(array, axes, path)


def _one_image(whole: np.ndarray, description: Description) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """(slices, coils, rows, columns) of one contrast and repetition, averages averaged; and what is to be said."""
    remarks = []
    for name in ("contrast", "repetition"):
        count = whole.shape[0]
        wanted = description.chosen(name)
        if wanted is not None and wanted >= count:
            raise ValueError(f"expected {name} 0 to {count - 1}, found {wanted} asked for: correct the description")
        if count > 1 and wanted is None:
            remarks.append((f"several_{name}s", f"The file holds {count} {name}s; the first was read: name another as "
                                                f"\"{name}\" in the description."))
        whole = whole[wanted or 0]
    if len(whole) > 1:
        seen = np.asarray(whole.any(axis=2))
        if not (seen == seen[:1]).all():
            raise ValueError("expected averages that measured the same samples, found other ones: give one of them")
        remarks.append(("averaged", f"{len(whole)} averages were averaged."))
    return (whole.mean(0) if len(whole) > 1 else whole[0]), remarks

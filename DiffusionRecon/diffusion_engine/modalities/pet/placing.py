"""Where counts lie in the patient: some slices, upright images, a place where none is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...orientation import RAS_OF_AXIAL, turn_of
from ...volume import Volume
from .sinogram import Sinogram

EXCHANGED = (0, 2, 1)
"""Axes of a turn that exchanges rows and columns."""


def of_slices(sinogram: Sinogram, first: int, last: int) -> Sinogram:
    """The counts of slices ``first`` to ``last`` (not included), at their place; ValueError where there are fewer."""
    if last > sinogram.slices:
        raise ValueError(f"slices {first} to {last} were asked for, the sinogram has {sinogram.slices}")
    part: dict[str, Any] = {}
    for name in ("prompts", "background", "attenuation", "efficiency"):
        values = getattr(sinogram, name)
        own = values is not None and values.ndim == 3 and len(values) == sinogram.slices
        part[name] = values[first:last] if own else values
    place = sinogram.ijk_to_ras
    if place is not None:
        place = np.array(place)
        place[:3, 3] += first * place[:3, 2]
    return replace(sinogram, **part, ijk_to_ras=place)


def placed_anywhere(sinogram: Sinogram) -> Sinogram:
    """The same as a standard axial stack around the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = RAS_OF_AXIAL * [sinogram.bin_mm, sinogram.bin_mm, sinogram.slice_spacing_mm]
    matrix[:3, 3] = -matrix[:3, 2] * (sinogram.slices - 1) / 2
    return replace(sinogram, ijk_to_ras=matrix)


def standing(frame: Volume, notes: list[str]) -> tuple[bool, tuple[int, ...]]:
    """How axial slices come to stand upright, columns to the patient's left and rows to posterior: whether rows and
    columns are to be exchanged, and the axes to flip then. Others stay as they are, with a remark.
    """
    turn = turn_of(frame)
    if turn.axes[0] != 0 or turn.oblique:
        notes.append(
            "The slices are not axial: the prior was trained on axial ones, so its result is less certain here."
        )
        return False, ()
    return turn.axes == EXCHANGED, tuple(axis for axis in (1, 2) if axis in turn.flips)


def turned(sinogram: Sinogram, exchanged: bool, flips: tuple[int, ...]) -> Sinogram:
    """Counts of images whose rows and columns are exchanged, and then flipped along ``flips`` (1: rows, 2: columns).

    u = x cos a - y sin a stays: x and y exchanged is the angle -a - pi/2, x reversed pi - a, y reversed -a. No count
    moves; ``ijk_to_ras`` stays that of the input.
    """
    angles = sinogram.angles_rad
    if exchanged:
        angles = -angles - math.pi / 2
    if 2 in flips:
        angles = math.pi - angles
    if 1 in flips:
        angles = -angles
    return replace(sinogram, angles_rad=angles)

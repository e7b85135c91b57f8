"""Draws kept on disk in half precision."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

from .reserved import made_folder, reserved_array


class DrawStore:
    """Draws (draws, slices, rows, columns) as a memory-mapped float16 file of differences from the first draw.

    x_n = first + d_n with ``first`` in float32 on disk as well. Half precision rounds d_n by at most |d_n| / 2048, so a
    draw that lies 100 from the first is kept to 0.05; the first is exact to float32. ``folder``: a new one for the
    files, a temporary one when None, removed by :meth:`close`. Their space on the disk is taken at once. ``kind``:
    float32, or complex64, whose real and imaginary parts are kept. A context manager. Raises ValueError for no draws,
    an empty shape, a folder that is there, or a disk without room.
    """

    def __init__(
        self, draws: int, shape: tuple[int, int, int], folder: Path | None = None, kind: type[np.generic] = np.float32
    ) -> None:
        if draws < 1 or min(shape) < 1:
            raise ValueError(f"expected 1 draw or more of at least one voxel, found {draws} of {shape}: ask for draws")
        self.count, self.shape, self._kind = draws, shape, np.dtype(kind)
        # A complex number is two real ones beside each other.
        kept = (*shape[:-1], shape[-1] * (2 if self._kind.kind == "c" else 1))
        self._home = Path(tempfile.mkdtemp(prefix="draws-")) if folder is None else made_folder(folder)
        try:
            self._first = reserved_array(self._home / "first.npy", kept, np.float32)
            self._away = reserved_array(self._home / "away.npy", (draws - 1, *kept), np.float16) if draws > 1 else (
                np.zeros((0, *kept), np.float16)
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DrawStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the draws and remove their files; more calls do nothing."""
        # A mapped file cannot be removed on Windows, so the maps go first.
        self._first, self._away = np.zeros(0, np.float32), np.zeros(0, np.float16)
        shutil.rmtree(self._home, ignore_errors=True)

    def write(self, draw: int, slices: slice, images: np.ndarray) -> None:
        """Keep some slices of a draw (from 0), in any unit; the first draw of a slice comes before the others.

        Raises FloatingPointError for values that are not finite or too far from the first draw for half precision.
        """
        if not np.isfinite(images).all():
            raise FloatingPointError("a draw holds NaN or infinite values: it was not kept")
        if self._kind.kind == "c":
            images = np.ascontiguousarray(images, np.complex64).view(np.float32)
        if draw == 0:
            self._first[slices] = images
            return
        away = images - self._first[slices]
        if float(np.abs(away).max()) > float(np.finfo(np.float16).max):
            raise FloatingPointError("a draw lies more than 65504 from the first: it cannot be kept in half precision")
        self._away[draw - 1, slices] = away

    def read(self, draw: int, slices: slice = slice(None)) -> np.ndarray:
        """Some slices of a draw (from 0): (slices, rows, columns), float32 or complex64."""
        if not 0 <= draw < self.count:
            raise ValueError(f"expected a draw from 0 to {self.count - 1}, found {draw}: choose one that exists")
        first = np.array(self._first[slices])
        found = first if draw == 0 else first + self._away[draw - 1, slices].astype(np.float32)
        return found.view(self._kind)

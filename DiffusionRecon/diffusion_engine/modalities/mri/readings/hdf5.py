"""HDF5 files opened for reading; what h5py says of a damaged one becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does, also behind the 512 bytes of MATLAB."""
    try:
        with path.open("rb") as stream:
            head = stream.read(520)
    except OSError:
        return False
    return b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520])


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open file; raises ValueError, one sentence that names it, for a damaged or truncated one."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, EOFError) as error:
        cut = "truncated" in str(error)
        found = "one that ends early" if cut else f"damage ({str(error).splitlines()[0][:120]})"
        raise ValueError(f"expected a whole HDF5 file {path.name}, found {found}: copy it again") from error
    except ValueError as error:
        if str(error).startswith(path.name):
            raise
        raise ValueError(f"{path.name}: {error}") from error

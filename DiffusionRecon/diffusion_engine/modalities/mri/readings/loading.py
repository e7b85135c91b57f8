"""Arrays out of NumPy, MATLAB and BART files, by name where there are several."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .hdf5 import is_hdf5


def load_array(path: Path, variable: str | None) -> np.ndarray:
    """The only numeric array of a file, or the one by name; raises ValueError, one sentence."""
    if path.suffix.lower() in ("", ".cfl", ".hdr"):
        from .bart import load_bart

        return load_bart(path)
    try:
        found = _variables(path, variable)
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"expected whole arrays in {path}, but reading failed ({_first_line(error)}): copy it again"
                         ) from error
    if variable is not None:
        if variable not in found:
            raise ValueError(f"expected '{variable}' in {path}, found {', '.join(found) or 'nothing'}: correct it")
        return found[variable]
    large = [name for name, value in found.items() if sum(size > 1 for size in value.shape) >= 2]
    if len(large) != 1:
        raise ValueError(
            f"expected one array in {path}, found {', '.join(large) or 'none'}: name the one to read as \"variable\" "
            "in the description"
        )
    return found[large[0]]


def _variables(path: Path, variable: str | None) -> Mapping[str, np.ndarray]:
    """Numeric arrays of a file by name."""
    ending = path.suffix.lower()
    if ending == ".npy":
        return {path.stem if variable is None else variable: np.load(path, allow_pickle=False)}
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as content:
            names = content.files if variable is None else [n for n in content.files if n == variable]
            return {name: content[name] for name in names}
    if ending == ".mat" and not is_hdf5(path):
        from scipy.io import loadmat

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = loadmat(path, variable_names=None if variable is None else [variable])
        return {n: v for n, v in content.items() if isinstance(v, np.ndarray) and v.dtype.kind in "biufc"}
    import h5py

    with h5py.File(path, "r") as file:
        names = [n for n in file if isinstance(file[n], h5py.Dataset) and variable in (None, n)]
        return {n: _of_matlab(file[n][()]) for n in names if file[n].dtype.kind in "biufcV"}


def _of_matlab(stored: Any) -> np.ndarray:
    """An array of a v7.3 file: MATLAB counts axes from the other end, complex numbers are pairs."""
    array = np.asarray(stored)
    if array.dtype.names == ("real", "imag"):
        array = array["real"] + 1j * array["imag"]
    if array.dtype.kind == "V":
        raise ValueError("records of another kind")
    return array.T


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120].rstrip(".")

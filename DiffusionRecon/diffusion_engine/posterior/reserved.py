"""Arrays in files whose space on the disk is reserved before anything is computed.

A mapped file that was only set to its length takes space when it is written to. If the disk is full by then, a signal
ends the process without a message. No torch here.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np

BLOCK = bytes(4 << 20)


def reserved_array(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """A new array of zeros in a .npy file, mapped; raises ValueError, one sentence, when the disk has no room for it.

    Nothing is left of a file for which there is no room.
    """
    try:
        with open(path, "wb") as stream:
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.flush()
            _reserve(stream.fileno(), stream.tell(), int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize)
        mapped: np.ndarray = np.load(path, mmap_mode="r+")
    except OSError as error:
        wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize / 1e6
        path.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ValueError(
                f"expected to write {path}, but it failed ({error.strerror}): choose another folder"
            ) from error
        free = shutil.disk_usage(path.parent).free / 1e6
        raise ValueError(
            f"expected {wanted:.0f} MB of free disk space for the draws in {path.parent}, found {free:.0f} MB: free "
            "some space, keep no draws, or keep fewer"
        ) from error
    return mapped


def made_folder(folder: Path) -> Path:
    """The folder, made now; raises ValueError where it is there already or cannot be made."""
    try:
        folder.mkdir()
    except OSError as error:
        raise ValueError(
            f"expected to make the folder {folder} for draws, but it failed ({error.strerror}): choose another one"
        ) from error
    return folder


def _reserve(handle: int, start: int, count: int) -> None:
    """Take so many bytes of the disk from ``start`` on, all zero; raises OSError when it is full."""
    if hasattr(os, "posix_fallocate"):
        try:
            if count:
                os.posix_fallocate(handle, start, count)
            return
        except OSError as error:
            # These three come from a file system that cannot reserve space.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    os.lseek(handle, start, os.SEEK_SET)
    while count > 0:
        count -= os.write(handle, BLOCK[:count])
    os.fsync(handle)

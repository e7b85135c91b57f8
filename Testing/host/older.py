"""Slicer 5.10 as far as this project meets it: no `slicer.packaging`, an older `pip_install`, pydicom 2.4."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pydicom
import slicer

from host import packages


@contextlib.contextmanager
def slicer510() -> Iterator[None]:
    """Be Slicer 5.10 within the block."""
    packaging, version = slicer.packaging, (slicer.app.majorVersion, slicer.app.minorVersion)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, {"slicer.packaging": None}))  # importing it raises
        stack.enter_context(mock.patch.object(slicer.util, "pip_install", _pipInstall))
        stack.enter_context(pydicom24())
        _setVersion(5, 10)
        stack.callback(lambda: _setVersion(*version))
        del slicer.packaging
        stack.callback(lambda: setattr(slicer, "packaging", packaging))
        yield


def _setVersion(major: int, minor: int) -> None:
    if hasattr(slicer.app, "setVersion"):
        slicer.app.setVersion(major, minor)
    else:  # without Qt
        slicer.app.majorVersion, slicer.app.minorVersion = major, minor


def _pipInstall(requirements: str | list[str]) -> None:
    """Install and block; what pip says goes to the log."""
    packages.pip_install(requirements)


@contextlib.contextmanager
def pydicom24() -> Iterator[None]:
    """Let pydicom's datasets be saved as version 2.4 saves them, which does not know `enforce_file_format`."""
    save = pydicom.Dataset.save_as

    def saveAs(self: pydicom.Dataset, filename: Any, write_like_original: bool = True) -> None:
        # As in 2.4, where both attributes are None until somebody sets them.
        if None in (self.__dict__.get("_is_little_endian"), self.__dict__.get("_is_implicit_VR")):
            raise AttributeError(
                f"'{type(self).__name__}.is_little_endian' and '{type(self).__name__}.is_implicit_VR' must be set "
                "appropriately before saving"
            )
        syntax = getattr(self, "file_meta", {}).get("TransferSyntaxUID")
        if syntax is not None and self._is_implicit_VR != syntax.is_implicit_VR:
            raise ValueError(f"The dataset's is_implicit_VR is {self._is_implicit_VR}, that of '{syntax.name}' is not.")
        save(self, filename, enforce_file_format=not write_like_original)

    kinds = [pydicom.Dataset, pydicom.dataset.FileDataset]
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(mock.patch.object(kind, "save_as", saveAs))
        stack.enter_context(mock.patch.object(pydicom, "__version__", "2.4.4"))
        yield

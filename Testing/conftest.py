"""How a run of the tests ends."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without the interpreter's own clean-up when Qt and VTK were used together.

    At exit Python frees Qt's widgets and VTK's views in no particular order, which can end the process with a
    segmentation fault after every test has passed and been reported. Slicer ends its Python before it closes; here the
    report is complete, so the process ends with its result at once.
    """
    status = getattr(config, "_diffusion_status", None)
    if status is not None and "PySide6" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember the result for the end."""
    session.config._diffusion_status = exitstatus  # type: ignore[attr-defined]

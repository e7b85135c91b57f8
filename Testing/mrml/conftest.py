"""Fixtures: a headless Slicer application (the real MRML scene of slicer-core, not the Slicer application)."""

from __future__ import annotations

from pathlib import Path

import pytest
from host.application import Application, makeApplication


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """A fresh scene, whose temporary folder has a space and letters outside ASCII in its name."""
    temporary = tmp_path / "Größe und Übung 测试"
    temporary.mkdir()
    return makeApplication(temporary)

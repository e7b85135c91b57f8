"""Sample files that may lie in a folder "shared" beside the repository: tests that want them are skipped without."""

from __future__ import annotations

from pathlib import Path

import pytest


def samples(name: str) -> Path:
    """The folder of this name among the sample files; the test is skipped, saying so, where there is none."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data" / "eval" / name
        if folder.is_dir():
            return folder
    pytest.skip(f"the sample files {name} are not beside the repository")

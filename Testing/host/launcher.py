"""Slicer's `sys.executable` is PythonSlicer, a launcher: it starts the interpreter as a child and waits for it.

A child that a signal ended is exit code 1 then, and ending the launcher leaves the child alive.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPT = """#!/bin/sh
{python} "$@"
code=$?
[ "$code" -gt 128 ] && exit 1
exit "$code"
"""


@contextlib.contextmanager
def launcherAsExecutable(folder: str | Path) -> Iterator[Path]:
    """Let `sys.executable` be such a launcher, written into `folder`, within the block; RuntimeError on Windows."""
    if os.name != "posix":
        raise RuntimeError("The stand-in's launcher is a shell script: run this on Linux or macOS.")
    path, before = Path(folder) / "PythonSlicer", sys.executable
    path.write_text(SCRIPT.format(python=shlex.quote(before)), encoding="utf-8")
    path.chmod(0o755)
    sys.executable = str(path)
    try:
        yield path
    finally:
        sys.executable = before

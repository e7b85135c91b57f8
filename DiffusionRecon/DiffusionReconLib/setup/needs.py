"""The Python packages that the engine needs beside Slicer's own: what is there, in which version and build.

Nothing is imported to find out: a package that was loaded into Slicer could not be replaced on some systems.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

PROTECTED = ("numpy", "SimpleITK", "requests", "torch")
"""Packages that the set-up never replaces while it installs the others."""
CUDA_GIGABYTES, CPU_GIGABYTES = 6.0, 1.5
"""Room that PyTorch takes, by its build."""


@dataclass(frozen=True)
class Need:
    """A package: how it is imported, its name for the installer, the lowest version, the room it takes.

    `asked`: a higher version that is asked for where it is installed anyway, "" for the lowest one.
    """

    module: str
    package: str
    lowest: str
    gigabytes: float
    asked: str = ""

    @property
    def requirement(self) -> str:
        """As pip writes it."""
        return f"{self.package}>={self.asked or self.lowest}"


MUON = "2.9"
"""The first version of PyTorch with the optimiser Muon, which only a training uses."""
TORCH = Need("torch", "torch", "2.8", CUDA_GIGABYTES, MUON)
# Beside torch, what the engine needs and Slicer does not bundle.
NEEDS = (
    TORCH,
    Need("monai", "monai", "1.5", 0.1),
    Need("safetensors", "safetensors", "0.4", 0.01),
    Need("scipy", "scipy", "1.10", 0.2),
    Need("psutil", "psutil", "5.9", 0.01),
    Need("h5py", "h5py", "3.8", 0.02),
)


def foundVersion(need: Need) -> str | None:
    """The version of a package that is there; None where it is not, "" where it does not tell."""
    if importlib.util.find_spec(need.module) is None:
        return None
    try:
        return importlib.metadata.version(need.package)
    except importlib.metadata.PackageNotFoundError:
        return ""  # on the path without its record: what it says of itself cannot be asked


def installed(need: Need) -> bool:
    """Whether a package is there in a version that is new enough."""
    found = foundVersion(need)
    return found is not None and (not found or isAtLeast(found, need.lowest))


def isAtLeast(version: str, lowest: str) -> bool:
    """Whether a version is that one or a newer one."""
    return _release(version) >= _release(lowest)


def cudaOfTorch() -> str | None:
    """The CUDA version that the installed PyTorch was built for; None for a build without CUDA."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def constraints() -> str:
    """A constraints file that keeps the protected packages at the versions they have."""
    lines = []
    for package in PROTECTED:
        try:
            lines.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join([*lines, ""])


def _release(version: str) -> tuple[int, ...]:
    """The leading whole numbers of a version: 2.8.0+cpu is (2, 8, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()

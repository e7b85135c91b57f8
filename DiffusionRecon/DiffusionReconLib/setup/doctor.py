"""What runs where, and why: one line about device and PyTorch, found out in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from diffusion_engine.safe_path import code_line, safe_environment
from slicer.i18n import tr as _

PROBE = """
import json, sys
try:
    import torch
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "available": torch.cuda.is_available()}
    if facts["available"]:
        place = torch.cuda.get_device_properties(0)
        facts.update(name=place.name, gigabytes=place.total_memory / 1e9)
except Exception as error:
    facts = {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
print(json.dumps(facts))
"""


class Doctor:
    """Asks PyTorch in another process; `poll` gives the line once, when it is known."""

    def __init__(self, python: str = sys.executable) -> None:
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NO_WINDOW
        self._process: subprocess.Popen | None = subprocess.Popen(
            code_line(PROBE, python), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=safe_environment(), **options,
        )

    def poll(self) -> str | None:
        """The line when the process has ended, else None."""
        if self._process is None or self._process.poll() is None:
            return None
        output = self._process.stdout.read().decode("utf-8", "replace")
        self.close()
        try:
            facts = json.loads(output.strip().splitlines()[-1])
        except (ValueError, IndexError):
            facts = {"error": _("it gave no answer")}
        return deviceLine(facts, shutil.which("nvidia-smi") is not None, os.cpu_count() or 1)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


def deviceLine(facts: dict[str, Any], nvidia: bool, cores: int) -> str:
    """The line for what the probe found; `nvidia`: whether a driver's tool is there."""
    if "error" in facts:
        return _("PyTorch does not start ({error}): reinstall it in the module 'PyTorch Utils'.").format(**facts)
    if facts["available"]:
        return _("GPU: {name}, {gigabytes:.0f} GB (PyTorch {torch}, CUDA {cuda}).").format(**facts)
    if nvidia and facts["cuda"] is None:
        return _(
            "CPU, {cores} cores (PyTorch {torch}): this PyTorch build has no CUDA for your driver; to change, "
            "uninstall and install PyTorch in the module 'PyTorch Utils' with a CUDA backend."
        ).format(cores=cores, torch=facts["torch"])
    if nvidia:
        return _(
            "CPU, {cores} cores (PyTorch {torch}): PyTorch was built for CUDA {cuda}, which the graphics driver does "
            "not offer; update the driver."
        ).format(cores=cores, torch=facts["torch"], cuda=facts["cuda"])
    return _("CPU, {cores} cores (PyTorch {torch}): no NVIDIA GPU was found.").format(
        cores=cores, torch=facts["torch"])

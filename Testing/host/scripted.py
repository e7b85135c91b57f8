"""The parts of Slicer's scripted-module support that slicer-core does not bring, as far as a module's logic needs them.

Only what importing a scripted module's file and running its logic and test class touches: the four base classes and
the translation functions. A panel does not run on these.
"""

from __future__ import annotations

import sys
import types
import unittest
from typing import Any


class ScriptedLoadableModule:
    """Keeps the parent that Slicer gives, on which a module sets its title, category and so on."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """Keeps the parent; the panel itself needs Qt."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.logic = None

    def setup(self) -> None:
        """Nothing to set up without Qt."""


class ScriptedLoadableModuleLogic:
    """The base of a module's logic."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of a module's self test: `runTest` runs everything, `delayDisplay` shows a message."""

    def delayDisplay(self, message: str, *_: Any) -> None:
        """Print what Slicer would show for a moment."""
        print(message)


def install(slicer: types.ModuleType) -> None:
    """Make `slicer.ScriptedLoadableModule` and `slicer.i18n` importable, where Slicer has them."""
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for base in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(scripted, base.__name__, base)
    scripted.__all__ = [name for name in vars(scripted) if name.startswith("Scripted")]
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda _context, text, *_: text
    for module in (scripted, i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rpartition(".")[2], module)

"""The parts of Slicer's scripted-module support that slicer-core does not bring: base classes, translation, parameters.

They run with and without Qt: a module's logic and test need none, its widget needs the stand-in of guiapplication.py.
"""

from __future__ import annotations

import importlib
import sys
import types
import unittest
from pathlib import Path
from typing import Any

MODULE_NODE = "vtkMRMLScriptedModuleNode"


class ScriptedLoadableModule:
    """Keeps the parent that Slicer gives, on which a module sets its title, category and so on."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **named: Any) -> None:
        """Run the module's test class."""
        case = getattr(importlib.import_module(type(self).__module__), self.moduleName + "Test")()
        case.messageDelay = msec
        case.runTest(**named)


class ScriptedLoadableModuleWidget:
    """The base of a module's panel: `setup` fills `layout`, `cleanup` is called before the panel goes away."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent, self.logic = parent, None
        if parent is not None:
            self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the module's Resources folder."""
        import slicer.util

        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Build the panel; the base has nothing to show."""

    def cleanup(self) -> None:
        """Undo what outlives the panel; the base has nothing to undo."""


class ScriptedLoadableModuleLogic:
    """The base of a module's logic, with its parameter nodes."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's parameter node in the scene: the first one, made if there is none."""
        import slicer

        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, MODULE_NODE)
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)  # closing the scene may have removed it
                return node
        found = self.getAllParameterNodes()
        return found[0] if found else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """All of the module's parameter nodes in the scene."""
        import slicer

        count = slicer.mrmlScene.GetNumberOfNodesByClass(MODULE_NODE)
        nodes = [slicer.mrmlScene.GetNthNodeByClass(index, MODULE_NODE) for index in range(count)]
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """A new parameter node, which is not in the scene yet."""
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass(MODULE_NODE)
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of a module's self test: `runTest` runs everything, `delayDisplay` shows a message."""

    def delayDisplay(self, message: str, *_: Any) -> None:
        """Print what Slicer would show for a moment."""
        print(message)


def install(slicer: types.ModuleType) -> None:
    """Make the modules importable that Slicer has and slicer-core has not, under Slicer's names for them."""
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
    modules = {scripted.__name__: scripted, i18n.__name__: i18n}
    modules["slicer.parameterNodeWrapper"] = importlib.import_module("host.parameters")
    modules["slicer.packaging"] = importlib.import_module("host.packages")
    for name, module in modules.items():
        sys.modules[name] = module
        setattr(slicer, name.rpartition(".")[2], module)

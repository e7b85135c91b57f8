"""Modules that come with Slicer or its extensions, as far as this project calls them: PyTorchUtils and SampleData."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import types
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import slicer

from host.packages import Installer


@contextlib.contextmanager
def installed(**modules: types.ModuleType) -> Iterator[None]:
    """Let modules be importable, by their names, within the block."""
    before = {name: sys.modules.get(name) for name in modules}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def pyTorchUtils(installer: Installer) -> types.ModuleType:
    """The module PyTorchUtils; `installer` plays pip.

    `installTorch` prints what pip says, and raises CalledProcessError without any of it.
    """

    class PyTorchUtilsLogic:
        """Installs torch."""

        def installTorch(
            self, askConfirmation: bool = False, forceComputationBackend: str | None = None,
            torchVersionRequirement: str | None = None, torchvisionVersionRequirement: str | None = None,
        ) -> None:
            """Install and block; without `askConfirmation` nobody is asked."""
            wanted = "torch" + (torchVersionRequirement or "")
            arguments = ["install", wanted, "torchvision" + (torchvisionVersionRequirement or "")]
            if askConfirmation and not slicer.app.commandOptions().testingEnabled and (
                not slicer.util.confirmOkCancelDisplay(f"PyTorch will be installed: {wanted}.")
            ):
                return
            try:
                for line in installer(arguments):
                    print(line)
            except Exception as error:  # whatever the installer fails by is a failed installation
                print(error)
                raise subprocess.CalledProcessError(1, arguments) from None

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


@dataclass
class SampleDataSource:
    """One sample; its button calls `customDownloader` where there is one."""

    sampleName: str
    uris: Any
    fileNames: Any
    nodeNames: Any
    customDownloader: Callable[[Any], Any] | None
    options: dict[str, Any]

    def press(self) -> Any:
        """What the sample's button does."""
        if self.customDownloader is not None:
            return self.customDownloader(self)
        return slicer.modules.sampledata.logic().downloadFromSource(self)


class SampleDataLogic:
    """Samples by name. `downloadSample` fetches the address and knows nothing of `customDownloader`.

    A file is fetched once: after that the copy in the cache is taken. An address passes all rules before it is fetched.
    """

    @staticmethod
    def registerUrlRewriteRule(name: str, rewriteFunction: Callable[[str], str]) -> None:
        """Let a function rewrite each address that is about to be fetched."""
        rules = getattr(slicer.modules, "sampleDataUrlRewriteRules", {})
        slicer.modules.sampleDataUrlRewriteRules = {**rules, name: rewriteFunction}

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str | None = None, uris: Any = None, fileNames: Any = None,
        nodeNames: Any = None, customDownloader: Callable[[Any], Any] | None = None, **options: Any,
    ) -> None:
        """Add a sample to a category; ValueError where name or address is missing."""
        if not sampleName or not uris:
            raise ValueError(f"Expected sampleName and uris, found {sampleName!r} and {uris!r}.")
        source = SampleDataSource(sampleName, uris, fileNames, nodeNames, customDownloader, options)
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)

    def sourceForSampleName(self, name: str) -> SampleDataSource | None:
        """The sample of this name."""
        every = [source for sources in slicer.modules.sampleDataSources.values() for source in sources]
        return next((source for source in every if source.sampleName == name), None)

    def downloadSample(self, name: str) -> Any:
        """The sample's first node, loaded from its address."""
        return self.downloadSamples(name)[0]

    def downloadSamples(self, name: str) -> list[Any]:
        """All nodes of a sample."""
        source = self.sourceForSampleName(name)
        return self.downloadFromSource(source) if source is not None else []

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        """Load a `file:` address as a volume; ValueError for others, of which there are none without a network."""
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), source.fileNames)
        if not path.exists():
            uri = source.uris
            for rule in getattr(slicer.modules, "sampleDataUrlRewriteRules", {}).values():
                uri = rule(uri)
            address = urllib.parse.urlparse(uri)
            if address.scheme != "file":
                raise ValueError(f"unknown url type: {uri}")
            shutil.copyfile(urllib.parse.unquote(address.path), path)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", source.nodeNames)
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(path))
        if not storage.ReadData(node):
            raise RuntimeError(f"Failed to load data from {path}.")
        node.SetAndObserveStorageNodeID(storage.GetID())
        return [node]


def sampleData() -> types.ModuleType:
    """The module SampleData, also as `slicer.modules.sampledata`, with no samples yet."""
    module = types.ModuleType("SampleData")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    slicer.modules.sampleDataSources = {}
    slicer.modules.sampledata = types.SimpleNamespace(name="SampleData", logic=SampleDataLogic)
    return module

"""Importing torch without what only its compiler needs: a server answers half a second earlier.

Two of torch's modules describe, in Python, what operations without a kernel for it make of tensors
without data. They take a third of `import torch`: what compiles, exports or shards asks for them,
and gets them then. They also make `torch.Generator` ready, as of torch 2.13, so a process that
defers draws its random numbers elsewhere, as the engine does.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

LATER = ("torch._meta_registrations", "torch.distributed._meta_registrations")
_ASK_FOR_THEM = ("torch._dynamo", "torch.distributed.tensor", "torch.onnx")
"""Imported by what traces tensors without data, and not by `import torch`."""


def defer() -> None:
    """Let `import torch` leave out `LATER`, if it is still to come.

    A module that was left out is executed when something of it is asked for, and each when torch's
    compiler, its sharded tensors or its exporter is imported.
    """
    if "torch" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def complete() -> None:
    """Execute what was left out."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name in LATER:
        module = sys.modules.get(name)
        if isinstance(module, _Deferred):
            module.execute()


class _Deferred(ModuleType):
    """A module that has a place in `sys.modules` and is executed when an attribute is missed."""

    def execute(self) -> None:
        assert self.__spec__ is not None
        assert isinstance(self.__spec__.loader, _Loader)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__loader__ = self.__spec__.loader = self.__spec__.loader.real
        self.__loader__.exec_module(self)

    def __getattr__(self, name: str) -> Any:
        # What looks at all modules, as `inspect` does, asks for names such as __file__ only.
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.execute()
        return getattr(self, name)


class _Loader(importlib.abc.Loader):
    """Makes a `_Deferred`.

    Args:
        real: what executes it.
    """

    def __init__(self, real: importlib.abc.Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of `LATER`, and notices what asks for them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _ASK_FOR_THEM:
            complete()
            return None
        if fullname not in LATER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec

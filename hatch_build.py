"""Puts the native kernels' objects into a wheel that is built beside a C++ compiler."""

import importlib.util
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NATIVE = "src/lmwright/engine/native"


class CustomBuildHook(BuildHookInterface):
    """Without a compiler, or where it fails, the wheel stays pure and builds them at first use."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for every instruction set, and say for which platform the wheel then is."""
        kernels = _build_module(Path(self.root) / _NATIVE / "build.py")
        platform = sysconfig.get_platform()
        compiler = kernels.find_compiler()
        if version == "editable" or compiler is None or platform != "linux-x86_64":
            return
        self.folder = tempfile.TemporaryDirectory(prefix="lmwright-kernels-")
        for name in kernels.INSTRUCTION_SETS:
            target = Path(self.folder.name) / kernels.object_name(name)
            try:
                kernels.compile_object(compiler, name, target)
            except kernels.CannotBuild as error:
                self.app.display_warning(f"without native kernels for {name}: {error}")
                continue
            inside = f"lmwright/engine/native/{kernels.SHIPPED.name}/{target.name}"
            build_data["force_include"][str(target)] = inside
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform.replace('-', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the wheel now holds."""
        if hasattr(self, "folder"):
            self.folder.cleanup()


def _build_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lmwright_native_build", path)
    assert spec is not None, "the path ends in .py"
    assert spec.loader is not None, "a file has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

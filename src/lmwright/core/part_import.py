"""Putting a part in its place at the moment its production module is imported.

Nobody can have imported a name from a module that has only just run: so a part that is put there
then is what everybody gets, whether they write `from module import name` or `module.name`.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.part_calls import Calls, counted_class, counted_function
from lmwright.core.part_files import Part, sha256


class Placing(MetaPathFinder):
    """A finder that stands first in `sys.meta_path`.

    It finds two kinds of modules: production's that have a part to be replaced, and readers' files
    that take a part's place.

    Attributes:
        calls: of every part, by its name, since its production module was imported.
    """

    def __init__(self) -> None:
        self.calls: dict[str, Calls] = {}
        self._by_target: dict[str, list[Part]] = {}
        self._by_module: dict[str, Part] = {}

    def add(self, part: Part) -> None:
        """Place a part: when its module is imported, or now if it has been.

        Raises:
            LmwrightError: if the file cannot be loaded, or it is too late.
        """
        if part.file is not None:
            self._by_module[part.module] = part
            sys.modules.pop(part.module, None)  # what is used is the file that was read just now
            if str(part.root) not in sys.path:
                # Last: the folder's other files must not hide anybody's modules.
                sys.path.append(str(part.root))
        self._by_target.setdefault(part.target_module, []).append(part)
        module = sys.modules.get(part.target_module)
        if module is not None:
            self.place(module, part)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        part = self._by_module.get(fullname)
        if part is not None:
            assert part.file is not None
            loader = _ReaderLoader(part)
            return importlib.util.spec_from_file_location(fullname, part.file, loader=loader)
        if fullname not in self._by_target:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _ProductionLoader(fullname, spec.origin, self)
        return spec

    def parts_of(self, module: str) -> Sequence[Part]:
        """The parts to be replaced in a production module."""
        return self._by_target[module]

    def place(self, module: ModuleType, part: Part) -> None:
        """Put a part into a production module that has run.

        Raises:
            LmwrightError: if the reader's file cannot be loaded or defines no such name, or if
                classes of production are built on the one to be replaced.
        """
        original = vars(module)[part.attribute]
        built: list[type] = original.__subclasses__() if isinstance(original, type) else []
        if built:
            names = ", ".join(sorted(kind.__name__ for kind in built))
            raise LmwrightError(
                f"{part.target} cannot be replaced any more: {names} is built on it",
                hint="call lmwright.use before importing anything else of lmwright",
            )
        # Loaded while production's own still stands there, which the file may want to call.
        new = original if part.file is None else getattr(load(part), part.attribute)
        calls = self.calls[part.name] = Calls()
        counted: Any
        if isinstance(original, type):
            if not isinstance(new, type):
                raise LmwrightError(
                    f"{part.shown}: {part.attribute} stands for a class, and is none"
                )
            counted = counted_class(new, calls, original)
        else:
            counted = counted_function(new, calls, original)
        setattr(module, part.attribute, counted)
        _replace_elsewhere(original, counted, but_in=part.module)


class _ProductionLoader(SourceFileLoader):
    """Loads a production module, then puts parts into it."""

    def __init__(self, fullname: str, path: str, placing: Placing) -> None:
        super().__init__(fullname, path)
        self._placing = placing

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then replace what it defined."""
        super().exec_module(module)
        for part in self._placing.parts_of(module.__name__):
            self._placing.place(module, part)


class _ReaderLoader(SourceFileLoader):
    """Loads a reader's file as it was when the process began, or not at all."""

    def __init__(self, part: Part) -> None:
        assert part.file is not None
        super().__init__(part.module, part.file)
        self._part = part

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from the source each time: a cached file could be another's."""
        try:
            source = Path(self.path).read_bytes()
        except OSError as error:
            raise LmwrightError(f"{self._part.shown}: {error.strerror}") from error
        if sha256(source) != self._part.sha256:
            raise LmwrightError(
                f"{self._part.shown} has been changed since this command began",
                hint="start it again",
            )
        code: CodeType = self.source_to_code(source, self.path)
        return code


def load(part: Part) -> ModuleType:
    """The module that a reader's file makes.

    Raises:
        LmwrightError: naming the line, if it cannot be imported or defines no such name.
    """
    try:
        module = importlib.import_module(part.module)
    except LmwrightError:
        raise
    except Exception as error:  # whatever the reader's code may raise
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == part.file]
        where = f", line {lines[-1]}" if lines else ""
        said = (str(error).splitlines() or [""])[0]
        raise LmwrightError(
            f"{part.shown}{where}: {type(error).__name__}: {said}",
            hint=f"lmwright lab check {part.name}",
        ) from error
    if not hasattr(module, part.attribute):
        raise LmwrightError(f"{part.shown} defines no {part.attribute}")
    return module


def _replace_elsewhere(original: object, new: object, *, but_in: str) -> None:
    """Wherever a module has bound production's own by name, bind the new one.

    The reader's own module keeps what it imported: it may want to call it.
    """
    for name, module in list(sys.modules.items()):
        if name == but_in or not isinstance(module, ModuleType):
            continue
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, new)

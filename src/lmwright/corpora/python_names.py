"""The documented names of the reader's own Python, best known first, one sentence each.

Only modules of `known_owners` are imported: all of them define things and do nothing else.
"""

import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import sysconfig
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.known_owners import OWNERS, RARE, REPLACEABLE
from lmwright.corpora.summaries import summary

# str.find and str.index share theirs and both are asked about; a third such name teaches nothing.
_NAMES_PER_SUMMARY = 2
_SELF_ATTRIBUTE = re.compile(r"\bself\.(\w+)")


@dataclass(frozen=True)
class DocumentedName:
    """A dotted name of the standard library with its one-sentence summary."""

    name: str
    summary: str

    @property
    def owner(self) -> str:
        """`str` of `str.upper`; `builtins` for a name without a dot."""
        return self.name.rpartition(".")[0] or "builtins"

    @property
    def attribute(self) -> str:
        """`upper` of `str.upper`."""
        return self.name.rpartition(".")[2]


def documented_names(limit: int | None = None) -> list[DocumentedName]:
    """Names whose docstring gives a summary that at most one earlier name has, best known first.

    Args:
        limit: at most so many names; None for all.

    Raises:
        LmwrightError: if Python runs without docstrings.
    """
    if sys.flags.optimize >= 2:
        raise LmwrightError(
            "python-docs needs docstrings, and this Python runs without them",
            hint="unset PYTHONOPTIMIZE (or leave out -OO), or give a folder: corpus.path=FOLDER",
        )
    return list(_all_names()[:limit])


@functools.cache
def _all_names() -> tuple[DocumentedName, ...]:
    found: dict[str, str] = {}
    taken: Counter[str] = Counter()
    things = [pair for owner in OWNERS for pair in members(owner) if not REPLACEABLE.match(pair[0])]
    things.sort(key=lambda pair: RARE.match(pair[0]) is not None)  # stable: keeps the order
    for name, thing in things:
        text = summary(getattr(thing, "__doc__", None))
        if text is not None and name not in found and taken[text] < _NAMES_PER_SUMMARY:
            found[name] = text
            taken[text] += 1
    return tuple(DocumentedName(name, text) for name, text in found.items())


def members(owner: str) -> Iterator[tuple[str, Any]]:
    """The owner itself, if it is a module, and its public functions, classes and methods.

    Args:
        owner: a module (`json`), or a class (`str`, `pathlib.Path`).
    """
    thing = resolve(owner)
    if thing is None:
        return
    if isinstance(thing, types.ModuleType):
        prefix = "" if owner == "builtins" else f"{owner}."
        if owner != "builtins":
            yield owner, thing
        for name in _public_names(thing):
            value = _attribute(thing, name)
            is_alias = inspect.isclass(value) and value.__name__ != name  # EnvironmentError
            if _is_member(value, thing) and _is_python_s_own(value) and not is_alias:
                yield prefix + name, value
    else:
        for name in sorted(n for n in dir(thing) if not n.startswith("_")):
            value = inspect.getattr_static(thing, name)
            value = getattr(value, "__func__", value)
            inherited = _is_inherited_from_builtin(thing, name)
            if _is_method(value) and _is_python_s_own(value) and not inherited:
                yield f"{owner}.{name}", value


def _attribute(module: types.ModuleType, name: str) -> Any:
    try:
        return getattr(module, name, None)
    except ImportError:  # concurrent.futures imports lazily what a small Python may lack
        return None


def _is_inherited_from_builtin(thing: type, name: str) -> bool:
    """Whether it is only `dict`'s (or another builtin's) method, such as Counter's `keys`."""
    home = next(base for base in thing.__mro__ if name in base.__dict__)
    return home is not thing and home.__module__ == "builtins"


def _is_python_s_own(value: Any) -> bool:
    """Whether no other package has put it there, as transformers does with `Logger.info_once`."""
    home = getattr(value, "__module__", None)
    return not isinstance(home, str) or home.split(".")[0] in sys.stdlib_module_names


def _public_names(module: types.ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    return sorted(n for n in set(names) if not n.startswith("_"))


def _is_member(value: Any, module: types.ModuleType) -> bool:
    """Whether a module's attribute is a documented thing of its own, not one it imported."""
    if not (inspect.isroutine(value) or inspect.isclass(value)):
        # functools.cache and the like wrap functions in callables that keep the docstring.
        return callable(value) and hasattr(value, "__wrapped__")
    home = str(getattr(value, "__module__", None) or module.__name__)
    if hasattr(module, "__all__") or module.__name__ in (home, "builtins"):
        return True
    return home.split(".")[0].strip("_") == module.__name__.split(".")[0] or home in (
        "posix",
        "nt",
        "builtins",
    )


def _is_method(value: Any) -> bool:
    return (
        inspect.isroutine(value)
        or isinstance(value, (classmethod, staticmethod, property))
        or inspect.ismethoddescriptor(value)
        or inspect.isgetsetdescriptor(value)
    )


@functools.cache
def resolve(dotted: str) -> Any:
    """The module, class or function called `dotted`; None if it is not in this Python.

    Imports nothing but modules of `OWNERS`.
    """
    thing, rest = _longest_module(dotted)
    for part in rest:
        try:
            thing = inspect.getattr_static(thing, part)
        except AttributeError:
            return None
    return thing


def exists(dotted: str) -> bool:
    """Whether `dotted` may be a real name: when in doubt (a module we never import), it may.

    Attributes that only instances have count too: the source of the class's module is asked.
    """
    top = dotted.split(".")[0]
    builtin = hasattr(importlib.import_module("builtins"), top)
    if top not in _owner_modules() and not builtin:
        return top in sys.stdlib_module_names or top in ("self", "cls")
    if resolve(dotted) is not None:
        return True
    owner, _, attribute = dotted.rpartition(".")
    thing = resolve(owner) if owner else None
    if isinstance(thing, types.ModuleType):
        # os.path and its kind: a submodule that nobody imported yet is no attribute.
        return hasattr(thing, attribute) or _has_submodule(thing, attribute)
    if inspect.isclass(thing):
        return hasattr(thing, attribute) or attribute in _self_attributes(thing.__module__)
    return dotted in sys.stdlib_module_names


def _has_submodule(package: types.ModuleType, name: str) -> bool:
    path = getattr(package, "__path__", None)
    finder = importlib.machinery.PathFinder
    return path is not None and finder.find_spec(f"{package.__name__}.{name}", path) is not None


@functools.cache
def _self_attributes(module: str) -> frozenset[str]:
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or not file.endswith(".py"):
        return frozenset()
    return frozenset(_SELF_ATTRIBUTE.findall(Path(file).read_text(encoding="utf-8")))


@functools.cache
def _owner_modules() -> frozenset[str]:
    return frozenset(owner.split(".")[0] for owner in OWNERS)


def _longest_module(dotted: str) -> tuple[Any, list[str]]:
    parts = dotted.split(".")
    builtins = importlib.import_module("builtins")
    if hasattr(builtins, parts[0]):
        return builtins, parts
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in _importable() and (module := _import(name)) is not None:
            return module, parts[length:]
    return builtins, parts


@functools.cache
def _importable() -> frozenset[str]:
    prefixes = {".".join(o.split(".")[:n]) for o in OWNERS for n in range(1, o.count(".") + 2)}
    return frozenset(prefixes)


@functools.cache
def _import(name: str) -> types.ModuleType | None:
    """The standard library's own module `name`, never a file of the same name lying about."""
    if name in sys.modules and _is_standard(getattr(sys.modules[name], "__spec__", None)):
        return sys.modules[name]
    parent = name.rpartition(".")[0]
    if parent and not hasattr(_import(parent), "__path__"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules say so when imported
        try:
            if not _is_standard(importlib.util.find_spec(name)):
                return None
            return importlib.import_module(name)
        except ImportError:  # not built on this system, such as sqlite3 or lzma
            return None


def _is_standard(spec: importlib.machinery.ModuleSpec | None) -> bool:
    if spec is None or spec.origin is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    origin = Path(spec.origin).resolve()
    return "site-packages" not in origin.parts and any(
        origin.is_relative_to(home) for home in _standard_homes()
    )


@functools.cache
def _standard_homes() -> tuple[Path, ...]:
    """Where the standard library lies: folders, or the archive of an embedded Python."""
    folders = {Path(sysconfig.get_paths()[key]).resolve() for key in ("stdlib", "platstdlib")}
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return (*folders, *(folder.parent / archive for folder in folders))

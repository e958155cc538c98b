"""Finding what the rooms offer: each package's torch-free `commands.py`."""

import difflib
import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import lmwright
from lmwright.core.errors import LmwrightError

if TYPE_CHECKING:
    from lmwright.pipeline.step import StepType


def room_folders() -> dict[str, Path]:
    """The packages of lmwright that have a `commands.py`."""
    root = Path(lmwright.__path__[0])
    names = [name for _, name, is_package in pkgutil.iter_modules([str(root)]) if is_package]
    return {name: root / name for name in names if (root / name / "commands.py").exists()}


@functools.cache
def room_commands() -> tuple[ModuleType, ...]:
    """The `commands` module of every room that has one; a broken one raises what broke it."""
    return tuple(commands_of(room) for room in room_folders())


def commands_of(room: str) -> ModuleType:
    """The `commands` module of a room."""
    return importlib.import_module(f"lmwright.{room}.commands")


def find_step_type(name: str) -> "StepType | None":
    """The step type called `ROOM.verb`, or None.

    A package of your own works like a room: `mine.verb` is looked up in `mine.commands.STEPS`
    where `mine` is importable and is no room of lmwright.
    """
    room = name.rpartition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")) or not room:
        return None
    for module in (f"lmwright.{room}.commands", f"{room}.commands"):
        if _exists(module):
            steps: Iterable[StepType] = getattr(importlib.import_module(module), "STEPS", ())
            return next((step for step in steps if step.name == name), None)
    return None


def step_type_names() -> list[str]:
    """Every step type of every room."""
    return sorted(step.name for module in room_commands() for step in getattr(module, "STEPS", ()))


def load_function(reference: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """A hint: the valid name most like `wrong`, or all of them where none is like it."""
    names = list(valid)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose one of: {', '.join(names)}" if names else "there is none to choose from"


def unknown_step_type(name: str) -> LmwrightError:
    """The error for a step type that no room has."""
    return LmwrightError(f"there is no step {name}", hint=nearest(name, step_type_names()))


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return False  # a parent package does not exist
        raise

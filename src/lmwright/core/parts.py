"""Parts that can be exchanged: a reader's own function or class in production's place.

`--use mine.attention` is resolved when the process begins, before anything is compiled, and holds
for the whole process and all it starts: the variable LMWRIGHT_USE carries it.
"""

import functools
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lmwright.core import part_files
from lmwright.core.errors import LmwrightError
from lmwright.core.part_files import Part
from lmwright.core.part_import import Placing

__all__ = ["VARIABLE", "Part", "active", "arguments", "calls", "in_use", "install", "told", "use"]

VARIABLE = "LMWRIGHT_USE"
"""Environment variable that carries the parts to child processes, as JSON."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class _Use:
    """What was asked for, and what it came to."""

    words: tuple[str, ...] = ()
    unchecked: bool = False
    parts: tuple[Part, ...] = ()


_use = _Use()


def use(*words: str, unchecked: bool = False) -> tuple[Part, ...]:
    """Put parts of your own in production's place, in this process and those it starts.

    Best called before anything else of lmwright is imported; modules that have bound the part by
    name already are given the new one.

    Args:
        words: "mine.attention" for the file mine/attention.py in the working folder, "mine" for
            every file in it that says what it replaces, or "lmwright.training.adamw:adamw_step"
            for production's own readable twin of what a library does otherwise.
        unchecked: take files that have not passed their lab's check, too; runs write it down.

    Returns:
        All parts in use now.

    Raises:
        LmwrightError: if there is no such file, it cannot take a part's place, or it has not
            passed its check as it is now.
    """
    global _use
    found = [part for word in words for part in part_files.find(word, Path.cwd())]
    if not unchecked:
        part_files.refuse_unchecked(found)
    new, before = list(_not_yet(found)), _use
    named = {part.target for part in found if part.named}
    _use = _Use(
        tuple(dict.fromkeys([*_use.words, *words])),
        _use.unchecked or unchecked,
        tuple(replace(p, named=p.named or p.target in named) for p in (*_use.parts, *new)),
    )
    try:
        _place(new)  # whoever is imported meanwhile may ask what is in use
    except BaseException:
        _use = before
        raise
    os.environ[VARIABLE] = json.dumps(asdict(_use))
    return _use.parts


def install() -> None:
    """Take over what the variable LMWRIGHT_USE carries; `import lmwright` calls this."""
    global _use
    text = os.environ.get(VARIABLE)
    if not text or _use.parts:
        return
    try:
        given = json.loads(text)
        parts = tuple(Part(**part) for part in given["parts"])
        _use = _Use(tuple(given["words"]), bool(given["unchecked"]), parts)
    except (ValueError, TypeError, KeyError) as error:
        raise LmwrightError(
            f"{VARIABLE} is not what --use writes: {error}", hint=f"unset {VARIABLE}"
        ) from error
    _place(parts)


def active() -> tuple[Part, ...]:
    """The parts in use in this process."""
    return _use.parts


def in_use(target: str) -> bool:
    """Whether `--use` names this part, be it by a reader's file or as production's own twin.

    Args:
        target: "module:name".
    """
    return any(part.target == target for part in _use.parts)


def calls() -> dict[str, int]:
    """How often each part was called in this process, by its name."""
    counted = _placing().calls
    return {p.name: counted[p.name].total() if p.name in counted else 0 for p in _use.parts}


def arguments() -> list[str]:
    """The words of a command line that ask for these parts again."""
    words = [word for name in _use.words for word in ("--use", name)]
    return words + ["--unchecked"] * _use.unchecked


def told(error: BaseException) -> tuple[str, str] | None:
    """What is wrong and what to do, if an exception began in a part's file; else None."""
    files = {part.file: part for part in _use.parts if part.file is not None}
    for raised in _chain(error) if files else ():
        lines = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(raised.__traceback__)]
        # What the compiler raises about a reader's code tells of the file in its text only.
        lines += [(file, int(line)) for file, line in _FRAME.findall(str(raised))]
        found = next(((file, line) for file, line in reversed(lines) if file in files), None)
        if found is None:
            continue
        part, line = files[found[0]], found[1]
        said = "".join(f": {text}" for text in str(raised).splitlines()[:1])
        return (
            f"{part.shown}, line {line}: {type(raised).__name__}{said}",
            f"`lmwright lab check {part.name}` looks for the smallest case that fails",
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, the first one first."""
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    return reversed(chain)


def _not_yet(found: Iterable[Part]) -> Iterator[Part]:
    """Those of `found` that are not in use already.

    Raises:
        LmwrightError: if two stand for one target, or have one name.
    """
    known = list(_use.parts)
    for part in found:
        same = next((p for p in known if p.target == part.target), None)
        if same is None:
            named = next((p for p in known if p.name == part.name), None)
            if named is not None:
                raise LmwrightError(
                    f"{named.shown} and {part.shown} are both called {part.name}",
                    hint="records tell parts apart by their file's name; rename one",
                )
            known.append(part)
            yield part
        elif same.file != part.file:
            raise LmwrightError(
                f"{same.shown} and {part.shown} both stand for {part.target}",
                hint="name one of them",
            )
        elif same.sha256 != part.sha256:
            raise LmwrightError(
                f"{part.shown} has been changed since this process began to use it",
                hint="start a new one",
            )


def _place(parts: Iterable[Part]) -> None:
    placing = _placing()
    if placing not in sys.meta_path:
        sys.meta_path.insert(0, placing)
    for part in parts:
        placing.add(part)


@functools.cache
def _placing() -> Placing:
    """The one finder of this process."""
    return Placing()

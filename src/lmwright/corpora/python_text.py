"""Documentation and source of the reader's own Python as text to pretrain on."""

import importlib
import inspect
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmwright.corpora.known_owners import OWNERS
from lmwright.corpora.python_names import members
from lmwright.corpora.texts import Document

# Not prose and not code one would learn from: tests, tables of characters, bundled packages, jokes.
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo"}
    | {"encodings", "pydoc_data", "ensurepip", "__pycache__", "__phello__", "lib-dynload"}
)
_SKIPPED_FILES = ("this.py", "antigravity.py", "_sysconfigdata", "sitecustomize.py", "__phello__")


def python_documents(characters: int) -> Iterator[Document]:
    """Documentation first, then help topics, then source, up to a number of characters.

    A document's `group` is its module, so that a module's documentation and its source (which
    holds the same docstrings) fall on the same side of a split.

    Args:
        characters: stop after about so many.
    """
    left = characters
    for document in _all_documents():
        yield document
        left -= len(document.text)
        if left <= 0:
            return


def _all_documents() -> Iterator[Document]:
    for owner in OWNERS:
        text = "\n\n".join(_entry(name, thing) for name, thing in members(owner))
        if text:
            yield Document(text, source=f"documentation of {owner}", group=owner.split(".")[0])
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for topic in sorted(topics):
        yield Document(topics[topic].strip(), source=f"help({topic!r})", group=f"topic {topic}")
    yield from _sources()


def _entry(name: str, thing: Any) -> str:
    """A name with its signature and docstring, as `help` would show them."""
    documentation = getattr(thing, "__doc__", None)
    if not isinstance(documentation, str):
        return f"{name}{_signature(thing)}"
    body = inspect.cleandoc(documentation).replace("\n", "\n    ")
    return f"{name}{_signature(thing)}\n    {body}"


def _signature(thing: Any) -> str:
    if not callable(thing):
        return ""
    try:
        return str(inspect.signature(thing))
    except (ValueError, TypeError):  # C functions without a machine-readable signature
        return ""


def _sources() -> Iterator[Document]:
    """The standard library's own modules: those people use first, then the others by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    order = {module: place for place, module in enumerate(dict.fromkeys(_modules()))}
    files = [(order.get(group, len(order)), group, file) for group, file in _files(library)]
    for _, group, file in sorted(files):
        text = file.read_text(encoding="utf-8", errors="replace")
        yield Document(text, source=file.relative_to(library).as_posix(), group=group)


def _modules() -> Iterator[str]:
    for owner in OWNERS:
        yield owner.split(".")[0]


def _files(library: Path) -> Iterator[tuple[str, Path]]:
    """Every source file with the top-level module that it belongs to."""
    for folder, folders, files in os.walk(library):
        folders[:] = [f for f in folders if f not in _SKIPPED_FOLDERS and "config-" not in f]
        for name in files:
            if name.endswith(".py") and not name.startswith(_SKIPPED_FILES):
                file = Path(folder, name)
                top = file.relative_to(library).parts[0].removesuffix(".py")
                yield top.removeprefix("_py"), file  # _pydatetime.py is datetime's source

"""Published labelled sets: each one small module of data beside this one, found by its name.

A set is read in the format it was published in, from below `LMWRIGHT_DATA`. Its rows come in the
field's usual columns, labels by their names, in the order of the files. Where the authors made no
split, or only part of it is to be had, `hash_splits` makes one from the content, whatever the order
of the rows, and the set's `split_note` says so.
"""

import difflib
import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmwright.core.errors import LmwrightError
from lmwright.corpora.splits import content_hash

Row: TypeAlias = dict[str, Any]
Split = Literal["train", "validation", "test"]
Task = Literal[
    "classification",
    "regression",
    "tagging",
    "question_answering",
    "translation",
    "summarization",
    "dialogue",
    "language_modeling",
]
Read: TypeAlias = Callable[[Path, str], Iterator[tuple[str, Row]]]

COLUMNS: Mapping[Task, tuple[tuple[str, ...], ...]] = {
    "classification": (("text", "label"), ("sentence1", "sentence2", "label")),
    "regression": (("text", "label"), ("sentence1", "sentence2", "label")),
    "tagging": (("tokens", "tags"),),
    "question_answering": (("id", "title", "context", "question", "answers"),),
    "translation": (("source", "target"),),
    "summarization": (("dialogue", "summary"),),
    "dialogue": (("source", "target"),),
    "language_modeling": (("text",),),
}
"""The columns that the rows of a task have; some tasks have two forms."""

HELD_OUT = 0.1
"""Share of the content that `hash_splits` keeps for validation, and again for the test."""


@dataclass(frozen=True)
class Dataset:
    """A published set as data."""

    name: str
    """The module's name; `-` and `_` mean the same to `find`."""
    task: Task
    """What it teaches; decides the columns."""
    splits: tuple[str, ...]
    """Splits that `read` gives; most have train, validation and test."""
    licence: str
    """The source's own terms; "research" means that texts may not be passed on."""
    citation: str
    """Whom to name when results are published."""
    source: str
    """Repository that holds the official files."""
    files: tuple[str, ...]
    """The official files, below the data folder; none: the rows are made on the spot."""
    read: Read
    """(data folder, language) -> (split, row), in the order of the files."""
    labels: tuple[str, ...] = ()
    """Names of the classes in the order of their ids; empty: found in the rows."""
    languages: tuple[str, ...] = ("en",)
    """What may be asked for, the usual one first; translations are `FROM-TO`."""
    split_note: str = "the authors' split"
    """Where the splits come from."""


def names() -> list[str]:
    """The sets that can be read."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module_name(name: str) -> str:
    """The module that describes the set `name`.

    Raises:
        LmwrightError: if there is none, naming those most like it.
    """
    wanted = name.strip().lower().replace("-", "_")
    if wanted not in names():
        nearest = difflib.get_close_matches(wanted, names(), n=1)
        meant = f"did you mean {nearest[0]}? " if nearest else ""
        raise LmwrightError(
            f"there is no dataset {name!r}", hint=f"{meant}known: {', '.join(names())}"
        )
    return f"{__name__}.{wanted}"


def find(name: str) -> Dataset:
    """The set called `name`.

    Raises:
        LmwrightError: if there is none.
    """
    dataset = importlib.import_module(module_name(name)).DATASET
    assert isinstance(dataset, Dataset)
    return dataset


def data_folder(dataset: Dataset) -> Path:
    """The folder below which the set's official files lie: `LMWRIGHT_DATA`; any, without files.

    Raises:
        LmwrightError: if the variable is not set, or a file is not there; says what and where.
    """
    if not dataset.files:
        return Path()
    given = os.environ.get("LMWRIGHT_DATA")
    wanted = ", ".join(dataset.files)
    hint = f"put {wanted} (from {dataset.source}) into a folder and name it in LMWRIGHT_DATA"
    if not given:
        raise LmwrightError(
            f"dataset {dataset.name} is not here: LMWRIGHT_DATA names no folder", hint=hint
        )
    folder = Path(given).expanduser()
    for file in dataset.files:
        if not (folder / file).is_file():
            raise LmwrightError(
                f"dataset {dataset.name} lacks {file}: looked for it in {folder}", hint=hint
            )
    return folder


def module_file(name: str) -> Path:
    """The source of the module that describes the set `name`."""
    return Path(__path__[0]) / f"{module_name(name).rpartition('.')[2]}.py"


def columns_of(task: Task, row: Row) -> tuple[str, ...]:
    """Those of the task's columns that a row has, in their usual order."""
    forms = COLUMNS[task]
    return next((form for form in forms if set(form) <= row.keys()), forms[0])


def official_files(dataset: Dataset) -> list[Path]:
    """The set's files on this machine.

    Raises:
        LmwrightError: as `data_folder`.
    """
    folder = data_folder(dataset)
    return [folder / file for file in dataset.files]


def rows(dataset: Dataset, language: str | None = None) -> dict[str, list[Row]]:
    """Every row of every split.

    Args:
        dataset: which.
        language: one of its languages; None: the usual one.

    Raises:
        LmwrightError: if a file is missing or malformed, or the language is not one of the set's.
    """
    chosen = language or dataset.languages[0]
    if chosen not in dataset.languages:
        raise LmwrightError(
            f"dataset {dataset.name} has no language {chosen!r}",
            hint=f"choose one of: {', '.join(dataset.languages)}",
        )
    found: dict[str, list[Row]] = {split: [] for split in dataset.splits}
    for split, row in dataset.read(data_folder(dataset), chosen):
        found[split].append(row)
    return found


def hash_splits(keys: Iterable[str]) -> dict[str, Split]:
    """A split for each text, by its place among all of them in the order of their hashes.

    The first tenth is the test, the next the validation; equal texts, white space and letter case
    aside, stay together.

    Args:
        keys: what must not be on two sides; of rows that share a document, the document.
    """
    hashes = {key: content_hash(key) for key in keys}
    order = sorted(set(hashes.values()))
    count = max(1, round(HELD_OUT * len(order)))
    place = dict.fromkeys(order, "train")
    place |= dict.fromkeys(order[count : 2 * count], "validation")
    place |= dict.fromkeys(order[:count], "test")
    return {key: place[value] for key, value in hashes.items()}  # type: ignore[misc]

"""The user's own labelled rows: JSON Lines, CSV, ... in the columns of the published sets."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.catalog import COLUMNS, Row, Task, hash_splits
from lmwright.corpora.dialogues import CHAT_COLUMNS, pairs_in
from lmwright.corpora.readers import rows_of
from lmwright.corpora.sources import Note, SourceFile, find_files

_SPLIT_OF_NAME = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def read_own(path: str, task: Task | None, note: Note) -> tuple[Task, dict[str, list[Row]], str]:
    """Rows of the user's files, checked, in splits.

    Args:
        path: a file, a folder or a pattern. Files called train, validation and test (or dev, val)
            are those splits; all others are split by their content.
        task: what they teach; None: as the columns say.
        note: told what a person should know.

    Returns:
        the task, the rows of each split, and in words where the splits come from.

    Raises:
        LmwrightError: if a row lacks a column or has one of the wrong type, naming its place; if
            some files are named as splits and others not; if train or test is missing.
    """
    files = find_files(path, note)
    named = {file: _SPLIT_OF_NAME.get(_stem(file)) for file in files}
    found: Task | None = task
    rows: dict[SourceFile, list[Row]] = {file: [] for file in files}
    for file in files:
        for place, row in rows_of(file, note):
            found = found or task_of(place, row)
            rows[file] += rows_in(place, row, found)
    if not any(rows.values()) or found is None:
        raise LmwrightError(f"{path} holds no row")
    if all(named.values()):
        splits: dict[str, list[Row]] = {}
        for file, split in named.items():
            splits.setdefault(str(split), []).extend(rows[file])
        missing = [split for split in ("train", "validation", "test") if split not in splits]
        if missing:
            raise LmwrightError(
                f"{path} has no file for {' and '.join(missing)}",
                hint="or give one file alone: it is split by its content",
            )
        return found, splits, "by the files' names"
    if any(named.values()):
        other = next(file for file, split in named.items() if split is None)
        raise LmwrightError(f"{other} is not named train, validation or test, as others are")
    return (
        found,
        _hashed([row for part in rows.values() for row in part]),
        ("by a hash of the content, 80 : 10 : 10"),
    )


def task_of(place: str, row: Mapping[str, Any]) -> Task:
    """The task whose columns a row has; numbers with a fraction as labels are to be regressed on.

    Raises:
        LmwrightError: if it has those of none.
    """
    task = next(
        (t for t, forms in COLUMNS.items() if any(set(form) <= row.keys() for form in forms)), None
    )
    # Titles and ids are for people; own question files rarely have them.
    if task is None and {"context", "question", "answers"} <= row.keys():
        task = "question_answering"
    if task is None and any(set(form) <= row.keys() for form in CHAT_COLUMNS):
        task = "dialogue"
    if task is None:
        forms = dict.fromkeys([form for forms in COLUMNS.values() for form in forms])
        known = "; ".join(", ".join(form) for form in [*forms, CHAT_COLUMNS[0]])
        raise LmwrightError(
            f"{place} has the columns {', '.join(map(str, row))}",
            hint=f"one of these sets is needed: {known}",
        )
    return "regression" if task == "classification" and type(row["label"]) is float else task


def rows_in(place: str, row: Mapping[str, Any], task: Task) -> list[Row]:
    """The row, `checked`; of a conversation one for each of the assistant's turns.

    Raises:
        LmwrightError: as `checked`, or if a conversation is malformed.
    """
    if task == "dialogue" and "target" not in row:
        return list(pairs_in(place, row))
    return [checked(place, row, task)]


def checked(place: str, row: Mapping[str, Any], task: Task) -> Row:
    """The row with labels as names and numbers as numbers.

    Raises:
        LmwrightError: if a column is missing or of the wrong type.
    """
    problem = _problem(row, task)
    if problem:
        raise LmwrightError(f"{place} {problem}")
    if task == "classification":
        return {**row, "label": _label_name(row["label"])}
    if task == "regression":
        return {**row, "label": float(row["label"])}
    if task == "tagging":
        return {**row, "tags": [str(tag) for tag in row["tags"]]}
    if task == "question_answering":
        return {"id": place, "title": "", **row}
    return dict(row)


def _problem(row: Mapping[str, Any], task: Task) -> str | None:
    """What is wrong with a row, to be said behind its place."""
    if task in ("classification", "regression"):
        texts = [c for c in ("text", "sentence1", "sentence2") if c in row]
        if texts not in (["text"], ["sentence1", "sentence2"]) or row.get("label") in (None, ""):
            return "needs text, or sentence1 and sentence2, and a label"
        if task == "regression" and not _is_number(row["label"]):
            return f"has the label {row['label']!r}, which is no number"
    elif task == "tagging":
        tokens, tags = row.get("tokens"), row.get("tags")
        if not isinstance(tokens, list) or not isinstance(tags, list):
            return "needs tokens and tags, both lists"
        if len(tokens) != len(tags) or not tokens:
            return f"has {len(tokens)} tokens and {len(tags)} tags"
        texts = []
        if not all(isinstance(token, str) and token for token in tokens):
            return "has a token that is no text, or empty"
    elif task == "question_answering":
        texts = ["context", "question"]
        if (wrong := _wrong_answers(row)) is not None:
            return wrong
    else:
        texts = list(COLUMNS[task][0])
    wrong_text = next((c for c in texts if not isinstance(row.get(c), str)), None)
    return f"has no text in {wrong_text}" if wrong_text else None


def _wrong_answers(row: Mapping[str, Any]) -> str | None:
    answers = row.get("answers")
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= answers.keys():
        return "needs answers as {text: [...], answer_start: [...]}"
    context = str(row.get("context"))
    for text, start in zip(answers["text"], answers["answer_start"], strict=False):
        if not isinstance(start, int) or context[start : start + len(text)] != text:
            return f"has the answer {text!r}, which is not at character {start} of the context"
    return None


def _label_name(value: Any) -> str:
    # 1.0 from a table's column of numbers is the class 1.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _hashed(rows: Iterable[Row]) -> dict[str, list[Row]]:
    listed = list(rows)
    keys = [_key(row) for row in listed]
    place = hash_splits(keys)
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for key, row in zip(keys, listed, strict=True):
        splits[place[key]].append(row)
    empty = [split for split, part in splits.items() if not part]
    if empty:
        raise LmwrightError(
            f"{len(set(keys))} different rows are too few for a {empty[0]} split",
            hint="give ten or more, or files called train, validation and test",
        )
    return splits


def _key(row: Row) -> str:
    """What must not be on two sides: the text that is asked about."""
    for column in ("opening", "context", "sentence1", "text", "source", "dialogue"):
        if column in row:
            return str(row[column])
    return " ".join(row["tokens"])


def _stem(file: SourceFile) -> str:
    return Path(file.member or file.path.name).name.partition(".")[0].lower()

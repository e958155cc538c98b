"""`lmwright doctor FILE`: what a data file is, as a model would see it, trained tokens marked."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from lmwright.core.doctor import machine_report
from lmwright.core.errors import LmwrightError
from lmwright.corpora.commands import BuildConfig
from lmwright.corpora.readers import read_records, rows_of
from lmwright.corpora.records import BadRow, Record, records_of
from lmwright.corpora.sources import find_files
from lmwright.tokens.chat import encode_chats
from lmwright.tokens.commands import TrainConfig
from lmwright.tokens.template import Message
from lmwright.tokens.tokenizer import Tokenizer, load
from lmwright.tokens.tokenizer import train as learn

# Enough to judge a file by, read and encoded in a few seconds.
MOST_RECORDS = 5000
MOST_CHARACTERS = 8_000_000
SHOWN_RECORDS = 3
SHOWN_CHARACTERS = 700
FORMATS = {
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "tab-separated values",
    ".parquet": "Parquet",
    ".md": "Markdown",
}
# A bell or an escape sequence inside the data must not reach the terminal.
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}


@dataclass(frozen=True)
class Seen:
    """One way a model sees a record.

    Args:
        kind: "text", "chats", "preferences" or "questions".
        title: what it is, for the reader.
        ids: (L,) token ids.
        mask: (L,) True where the token is trained.
    """

    kind: str
    title: str
    ids: list[int]
    mask: list[bool]


def print_machine() -> None:
    """Print what this machine has and what training would make of it."""
    rows = machine_report()
    width = max(len(name) for name, _ in rows)
    console = Console(soft_wrap=True, highlight=False)
    for name, finding in rows:
        console.print(f"{name:<{width}}  {finding}", markup=False)


def print_file(
    file: str,
    tokenizer_folder: Path | None = None,
    *,
    text_column: str = "text",
    row_length: int = 256,
) -> None:
    """Print the format seen, three records with trained tokens marked, counts, and what to change.

    Args:
        file: a file, folder or pattern, as `corpus.path` takes it.
        tokenizer_folder: whose tokens to use; None learns a vocabulary from the records.
        text_column: the column of data files that holds plain text.
        row_length: T of the rows that chats must fit, in tokens.

    Raises:
        LmwrightError: if the file cannot be read as any known format.
    """
    console = Console(soft_wrap=True, highlight=False)
    say = console.print
    say(f"{file}: {describe(file)}", markup=False)
    notes: list[str] = []
    with console.status("reading"):
        records, more = _some_records(file, notes, text_column)
        kinds = Counter(record.kind for record in records)
        tokenizer, source = _tokenizer(records, tokenizer_folder)
        counts = list(count(tokenizer, records, row_length))
    for note in notes:
        say(f"note: {note}", markup=False)
    counted = " and ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    say(f"read as: {'the first ' if more else ''}{counted}", markup=False)
    say(f"tokens: {source}", markup=False)
    marks = "in bold green" if console.is_terminal else "between « and »"
    say(f"\nWhat a model would see. The tokens that it is trained to write stand {marks}.")
    for seen in see(tokenizer, records[:SHOWN_RECORDS]):
        say(f"\n-- {seen.title}", markup=False)
        say(marked(tokenizer, seen, styled=console.is_terminal))
    say("")
    for line in (*counts, "", *advice(file, kinds, text_column)):
        say(line, markup=False)


def describe(path: str) -> str:
    """The formats of the files that `path` names, and the columns of the first data file."""
    formats = Counter(FORMATS.get(file.suffix, "text") for file in find_files(path, None))
    counted = [f"{n} {name} file{'s' * (n > 1)}" for name, n in formats.most_common()]
    row = _first_row(path)
    columns = f", with the columns {', '.join(map(str, row))}" if row else ""
    return (", ".join(counted) + columns).translate(_CONTROLS)


def see(tokenizer: Tokenizer, records: Sequence[Record]) -> Iterator[Seen]:
    """The records as training would encode them; a preference is two conversations."""
    conversations = [chat for record in records for chat in _conversations(record).values()]
    encoded = encode_chats(tokenizer, conversations)
    for record in records:
        row = record.row
        if record.kind == "text":
            ids = [*tokenizer.encode(row["text"]), tokenizer.eos_token_id]
            # Nothing comes before a document's first token to predict it from.
            yield Seen("text", "text", ids, [False] + [True] * (len(ids) - 1))
        elif record.kind == "questions":
            ids = tokenizer.encode_chat(row["messages"])
            title = f"question, for evaluation only; the answer is {row['answer']!r}"
            yield Seen("questions", title, ids, [False] * len(ids))
        for title in _conversations(record):
            document = next(encoded)
            mask = np.asarray(document.mask)
            if record.kind == "preferences":
                mask = _last_turn(mask)
            yield Seen(record.kind, title, np.asarray(document.ids).tolist(), mask.tolist())


def _conversations(record: Record) -> dict[str, list[Message]]:
    """The conversations that a record trains, by title."""
    row = record.row
    if record.kind == "chats":
        return {"chat": row["messages"]}
    if record.kind == "preferences":
        sides = ("chosen", "rejected")
        return {f"preference, {side}": [*row["prompt"], *row[side]] for side in sides}
    return {}


def _last_turn(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of a preference only the answer counts, not the assistant's earlier turns."""
    kept = mask.copy()
    last = int(np.flatnonzero(mask)[-1])
    before = np.flatnonzero(~mask[:last])
    kept[: before[-1] + 1 if len(before) else 0] = False
    return kept


def marked(tokenizer: Tokenizer, seen: Seen, *, styled: bool) -> Text:
    """The text of a record with its trained tokens marked, cut to a readable length."""
    text = Text()
    left = SHOWN_CHARACTERS
    pairs = zip(seen.ids, seen.mask, strict=True)
    for trained, run in groupby(pairs, key=lambda pair: pair[1]):
        part = tokenizer.decode([i for i, _ in run], skip_special_tokens=False)
        shown = part[: max(0, left)].translate(_CONTROLS)
        left -= len(part)
        if trained and styled:
            text.append(shown, style="bold green")
        elif trained and shown:
            text.append(f"«{shown}»")
        else:
            text.append(shown)
    if left < 0:
        text.append(f"… [{-left:,} more characters]")
    text.rstrip()
    return text


def count(tokenizer: Tokenizer, records: Sequence[Record], row_length: int) -> Iterator[str]:
    """A line per kind of record: how many, their tokens, trained tokens, and too long ones."""
    seen = list(see(tokenizer, records))
    for kind, number in Counter(record.kind for record in records).items():
        lengths = [len(s.ids) for s in seen if s.kind == kind]
        trained = sum(sum(s.mask) for s in seen if s.kind == kind)
        line = (
            f"{kind}: {number:,} records, {sum(lengths):,} tokens, {trained:,} of them trained, "
            f"{max(lengths):,} in the longest"
        )
        if fate := {"text": "cut", "chats": "left out"}.get(kind):
            long = sum(length > row_length for length in lengths)
            line += f"; {long:,} longer than a row of {row_length:,} are {fate} in training"
        yield line


def advice(path: str, kinds: Collection[str], text_column: str) -> Iterator[str]:
    """The lines to write: to train on this, and if the guess was wrong."""
    yield f"To train on it:      {_command(path, text_column)}"
    row = _first_row(path)
    if row is None:
        yield (
            "If that is wrong:    a file's ending says its format; end it in .jsonl, .csv, .tsv, "
            ".json or .parquet"
        )
        return
    if {"text", "label"} <= row.keys():
        words = ["lmwright", "run", "text_classification", f"dataset.path={path}"]
        yield f"To learn its labels: {shlex.join(words)}"
    if column := _text_column(row, text_column if "text" in kinds else None):
        yield f"If it is plain text: {_command(path, column)}"
    yield (
        "If that is wrong:    name its columns text; or messages (of role and content); or prompt "
        "and response; or prompt, chosen and rejected"
    )


def _command(path: str, text_column: str) -> str:
    words = ["lmwright", "run", "quickstart", f"corpus.path={path}"]
    default = BuildConfig().text_column
    return shlex.join(words + [f"corpus.text_column={text_column}"] * (text_column != default))


def _first_row(path: str) -> dict[str, Any] | None:
    """The first row of the first data file; None where all files are text."""
    for file in find_files(path, None):
        if FORMATS.get(file.suffix, "text") not in ("text", "Markdown"):
            for _, row in rows_of(file, None):
                return row
    return None


def _text_column(row: Mapping[str, Any], current: str | None) -> str | None:
    """The column with the longest text that would be read as plain text; not the current one."""
    candidates = [name for name, value in row.items() if isinstance(value, str)]
    for name in sorted(candidates, key=lambda name: len(row[name]), reverse=True):
        if name == current:
            continue
        with contextlib.suppress(BadRow):
            if [record.kind for record in records_of(row, name)] == ["text"]:
                return name
    return None


def _some_records(path: str, notes: list[str], text_column: str) -> tuple[list[Record], bool]:
    """Records up to a number and a size, and whether there are more."""
    records: list[Record] = []
    characters = 0
    try:
        for record in read_records(path, notes.append, text_column=text_column):
            if len(records) == MOST_RECORDS or characters > MOST_CHARACTERS:
                return records, True
            records.append(record)
            characters += sum(map(len, _texts(record)))
    except LmwrightError as error:
        row = None if records or error.hint else _first_row(path)
        if row and (column := _text_column(row, None)):
            hint = f"if {column} holds the text: {_command(path, column)}"
            raise LmwrightError(error.what, hint=hint) from error
        raise
    return records, False


def _tokenizer(records: Sequence[Record], folder: Path | None) -> tuple[Tokenizer, str]:
    if folder is not None:
        inside = folder / "model"  # a run folder is accepted wherever a model is
        tokenizer = load(inside if inside.is_dir() else folder)
        return tokenizer, f"{folder}, {tokenizer.vocab_size:,} in its vocabulary"
    texts = [text for record in records for text in _texts(record)]
    tokenizer = learn(texts, TrainConfig().vocab_size)
    return tokenizer, (
        f"a vocabulary of {tokenizer.vocab_size:,} learned from these records, as a run would "
        "(--tokenizer FOLDER takes another)"
    )


def _texts(record: Record) -> Iterator[str]:
    row: dict[str, Any] = record.row
    if record.kind == "text":
        yield row["text"]
    for key in ("messages", "prompt", "chosen", "rejected"):
        yield from (message["content"] for message in row.get(key, ()))

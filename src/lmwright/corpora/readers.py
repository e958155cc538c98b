"""Reading text, Markdown, JSON Lines, JSON, CSV and Parquet as training records, in a stream."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.records import (
    BadRow,
    Record,
    RecordKind,
    Unusable,
    records_of,
    teaches_nothing,
)
from lmwright.corpora.sources import Note, SourceFile, find_files, open_text
from lmwright.corpora.texts import pieces_of

_LONGEST_ROW = 64 << 20  # characters; a longer "row" is some other format, and would fill memory
_BLOCK = 1 << 16
_PARQUET_ROWS = 1024  # rows held at once

Row = tuple[str, dict[str, Any]]  # where it stands, for messages; its columns


def read_records(
    path: str, note: Note, *, characters: int = 8192, text_column: str = "text"
) -> Iterator[Record]:
    """Every record that a file, a folder or a pattern holds, file by file in a fixed order.

    Args:
        path: what to read.
        note: told what a person should know: Latin-1 files, rows left out.
        characters: longest text document; longer ones are cut at paragraphs.
        text_column: the column of data files that holds plain text.

    Raises:
        LmwrightError: if something is missing, empty, binary, malformed or of an unknown shape.
    """
    found = False
    for file in find_files(path, note):
        for record in _file_records(file, note, characters, text_column):
            found = True
            yield record
    if not found:
        raise LmwrightError(f"{path} holds no record: the corpus is empty")


def record_kinds(path: str, *, text_column: str = "text") -> set[RecordKind]:
    """The kinds of records that `path` holds, seen from the first row of each file.

    Raises:
        LmwrightError: as `read_records` for what the first rows show.
    """
    kinds: set[RecordKind] = set()
    for file in find_files(path, None):
        if _is_text(file):
            _look_at_text(file)
            kinds.add("text")
        else:
            kinds.update(record.kind for record in _first_records(file, text_column))
    if not kinds:
        raise LmwrightError(f"{path} holds no record: the corpus is empty")
    return kinds


def rows_of(file: SourceFile, note: Note | None) -> Iterator[Row]:
    """The rows of a data file with the place of each.

    Args:
        file: the file.
        note: told what a person should know; None for a first look at the first rows.

    Raises:
        LmwrightError: if the file is malformed, naming the line; or not a data file.
    """
    return _ROWS[file.suffix](file, note)


def _is_text(file: SourceFile) -> bool:
    return file.suffix not in _ROWS


def _look_at_text(file: SourceFile) -> None:
    with open_text(file, None) as text:
        text.read(1)


def _first_records(file: SourceFile, text_column: str) -> list[Record]:
    """The records of the first row that gives any."""
    for place, row in rows_of(file, None):
        if records := _records(place, row, text_column):
            return records
    return []


def _file_records(
    file: SourceFile, note: Note, characters: int, text_column: str
) -> Iterator[Record]:
    if _is_text(file):
        with open_text(file, note) as text:
            blocks = iter(lambda: text.read(_BLOCK), "")
            for piece in pieces_of(blocks, characters):
                yield Record("text", {"text": piece, "source": str(file)})
        return
    expected: set[RecordKind] | None = None
    unused = 0
    for place, row in rows_of(file, note):
        records = _records(place, row, text_column)
        if not records:
            unused += 1
            continue
        kinds = {record.kind for record in records}
        if kinds != (expected := expected or kinds):
            raise LmwrightError(
                f"{place} gives {_listed(kinds)}, the rows before it {_listed(expected)}",
                hint="put records of different kinds into different files",
            )
        for record in records:
            if teaches_nothing(record):
                unused += 1
            elif record.kind == "text":
                for piece in pieces_of([record.row["text"]], characters):
                    yield Record("text", {"text": piece, "source": str(file)})
            else:
                yield record
    if unused:
        note(
            f"{file}: left out {unused} records with nothing to learn (empty, two equal answers, "
            "or answers that differ by more than the last message)"
        )


def _records(place: str, row: dict[str, Any], text_column: str) -> list[Record]:
    try:
        return records_of(row, text_column)
    except Unusable:
        return []
    except BadRow as error:
        raise LmwrightError(f"{place} {error}") from error


def _listed(kinds: set[RecordKind]) -> str:
    return " and ".join(sorted(kinds))


def _json_lines(file: SourceFile, note: Note | None) -> Iterator[Row]:
    with open_text(file, note) as text:
        number = 0
        while line := text.readline(_LONGEST_ROW):
            number += 1
            place = f"{file}, line {number}"
            if not line.strip():
                continue
            if len(line) == _LONGEST_ROW:
                raise LmwrightError(f"{place} is longer than {_LONGEST_ROW:,} characters")
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise LmwrightError(f"{place} is not valid JSON: {error}") from error
            yield place, _object(row, place)


def _json(file: SourceFile, note: Note | None) -> Iterator[Row]:
    """A JSON array of objects, read element by element; or JSON Lines under the name `.json`."""
    with open_text(file, note) as text:
        held = text.read(_BLOCK).lstrip()
        if not held.startswith("["):
            yield from _json_lines(file, note)
            return
        yield from _array(file, text, held[1:])


def _array(file: SourceFile, text: io.TextIOWrapper, held: str) -> Iterator[Row]:
    decoder, number = json.JSONDecoder(), 0
    while True:
        held = held.lstrip(" \t\r\n,")
        if held.startswith("]"):
            return
        place = f"{file}, element {number + 1}"
        try:
            row, end = decoder.raw_decode(held)
        except json.JSONDecodeError as error:
            # Half an element looks like a malformed one: read on, twice as much each time.
            more = text.read(max(_BLOCK, len(held)))
            if not more or len(held) > _LONGEST_ROW:
                raise LmwrightError(f"{place} is not valid JSON: {error}") from error
            held += more
            continue
        number += 1
        held = held[end:]
        yield place, _object(row, place)


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise LmwrightError(f"{place} is a JSON {type(row).__name__}; each row must be an object")
    return row


def _separated(separator: str) -> Callable[[SourceFile, Note | None], Iterator[Row]]:
    def rows(file: SourceFile, note: Note | None) -> Iterator[Row]:
        # The module's own limit is for the whole process, so it is set only while reading.
        limit = csv.field_size_limit(_LONGEST_ROW)
        try:
            with open_text(file, note) as text:
                reader = csv.DictReader(text, delimiter=separator, strict=True)
                for row in reader:
                    place = f"{file}, line {reader.line_num}"
                    if None in row:
                        raise LmwrightError(f"{place} has more columns than the first line names")
                    yield place, row
        except csv.Error as error:
            raise LmwrightError(f"{file}, line {reader.line_num}: {error}") from error
        finally:
            csv.field_size_limit(limit)

    return rows


def _parquet(file: SourceFile, _: Note | None) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise LmwrightError(
            f"{file} is Parquet, which needs the extra `data`",
            hint="pip install 'lmwright[data]'",
        ) from error
    if file.member or file.path.suffix.lower() != ".parquet":
        raise LmwrightError(f"{file} is Parquet inside an archive", hint="unpack it first")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise LmwrightError(f"{file} is not readable Parquet: {error}") from error


_ROWS: dict[str, Callable[[SourceFile, Note | None], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}

"""The formats in which labelled sets are published: lines, columns, SQuAD, members of archives."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.corpora.sources import SourceFile


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """A whole text file, decompressed where it ends in `.gz`; line ends become `\\n`.

    Raises:
        LmwrightError: if it cannot be read, or is not in that encoding.
    """
    with SourceFile(file).bytes() as stream:
        return decoded(stream.read(), str(file), encoding)


def lines(file: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, without their ends."""
    return split_lines(read_text(file, encoding))


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends.

    Only `\\n` ends a line: some sets hold U+0085 and its kin inside sentences, where
    `str.splitlines` would cut.
    """
    return text.removesuffix("\n").split("\n") if text else []


def members(archive: Path, pattern: str) -> dict[str, bytes]:
    """The members of a zip archive whose whole name matches a regular expression, sorted by name.

    Raises:
        LmwrightError: if the archive cannot be read, or nothing matches.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = sorted(name for name in opened.namelist() if re.fullmatch(pattern, name))
            found = {name: opened.read(name) for name in names}
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise LmwrightError(f"{archive} is corrupt or cut short: {error}") from error
    if not found:
        raise LmwrightError(f"{archive} has no member that matches {pattern}")
    return found


def decoded(data: bytes, name: str, encoding: str = "utf-8") -> str:
    """The text of a file's bytes; line ends become `\\n`.

    Raises:
        LmwrightError: if they are not in that encoding, naming the file.
    """
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise LmwrightError(f"{name} is not {encoding}: {error}") from error


def blocks(file: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Sentences of a CoNLL file: the comment lines before each, and its rows of columns.

    Columns are separated by tabs where a line has any, else by single spaces (CoNLL-2003).
    """
    comments: list[str] = []
    table: list[list[str]] = []
    for line in [*lines(file), ""]:
        if not line.strip():
            if table:
                yield comments, table
                comments, table = [], []
        elif line.startswith("# ") and not table:
            comments.append(line)
        else:
            table.append(line.split("\t") if "\t" in line else line.split(" "))


def column(file: Path, table: Sequence[Sequence[str]], index: int) -> list[str]:
    """One column of a sentence.

    Raises:
        LmwrightError: if a row is too short, showing it.
    """
    for row in table:
        if len(row) <= index:
            raise LmwrightError(
                f"{file}: the row {' '.join(row)!r} has {len(row)} columns, {index + 1} are needed"
            )
    return [row[index] for row in table]


def bio_of_iob1(tags: Sequence[str]) -> list[str]:
    """IOB1, in which B- only parts neighbours of one type, as BIO, in which every entity has one.

    Args:
        tags: such as I-PER I-PER B-PER O (Ramshaw & Marcus 1995, section 4.1).
    """
    result = []
    before = "O"
    for tag in tags:
        begins = tag.startswith("I-") and before[1:] != tag[1:]
        result.append(f"B{tag[1:]}" if begins else tag)
        before = tag
    return result


def squad_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The questions of a SQuAD v1.1 file (Rajpurkar et al. 2016).

    Yields:
        id, title, context, question, and answers: `{"text": [...], "answer_start": [...]}`, places
        in characters of the context.

    Raises:
        LmwrightError: if the file is no SQuAD, or an answer does not stand where it says.
    """
    content = read_json(file)
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield _squad_row(file, article.get("title", ""), paragraph["context"], question)
    except (KeyError, TypeError) as error:
        raise LmwrightError(f"{file} is not in SQuAD's format: {error!r}") from error


def _squad_row(file: Path, title: str, context: str, question: dict[str, Any]) -> dict[str, Any]:
    texts = [answer["text"] for answer in question["answers"]]
    starts = [answer["answer_start"] for answer in question["answers"]]
    for text, start in zip(texts, starts, strict=True):
        if context[start : start + len(text)] != text:
            raise LmwrightError(f"{file}: answer {text!r} of {question['id']} is not at {start}")
    return {
        "id": question["id"],
        "title": title,
        "context": context,
        "question": question["question"],
        "answers": {"text": texts, "answer_start": starts},
    }

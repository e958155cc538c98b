"""Training and validation parts, told apart by a hash of the content: the same every time.

What decides is the part of a record that must not be in both: a document's own words, or a
conversation up to its first answer. White space and letter case do not count.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.records import RecordKind
from lmwright.corpora.texts import halves

PARTS = ("train", "validation")


def content_hash(text: str) -> float:
    """A number in [0, 1) from the words of `text`; evenly spread."""
    words = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") / 2**64


def content_key(kind: RecordKind, row: Mapping[str, Any]) -> str:
    """The words of a record that decide where it goes."""
    if kind == "text":
        return str(row["text"])
    messages = row["prompt"] if kind == "preferences" else row["messages"]
    question = []
    for message in messages:
        if message["role"] == "assistant":
            break
        question.append(message["content"])
    return "\n".join(question)


class SplitWriter:
    """Writes one kind of records into `FOLDER/train.jsonl` and `FOLDER/validation.jsonl`.

    Neither file stays empty: where chance leaves one so, the records with the hash nearest to the
    border change sides, and a single document of text is cut in two.

    Args:
        folder: made if missing.
        kind: of the records.
        fraction: share of the records for validation, above 0 and below 1.
    """

    def __init__(self, folder: Path, kind: RecordKind, fraction: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.kind, self.fraction = folder, kind, fraction
        self._start()

    def _start(self) -> None:
        self.counts = dict.fromkeys(PARTS, 0)
        self.bytes = dict.fromkeys(PARTS, 0)  # UTF-8 bytes of the texts or messages alone
        self._files: dict[str, IO[str]] = {
            part: open(self.folder / f"{part}.jsonl", "w", encoding="utf-8")  # noqa: SIM115
            for part in PARTS
        }

    def _close(self) -> None:
        for file in self._files.values():
            file.close()

    def write(self, row: Mapping[str, Any], *, group: str | None = None) -> None:
        """Write a row to the part that its content, or its group, belongs to."""
        key = group if group is not None else content_key(self.kind, row)
        self.write_to("validation" if content_hash(key) < self.fraction else "train", row)

    def write_to(self, part: str, row: Mapping[str, Any]) -> None:
        """Write a row to a part that is known already."""
        self._files[part].write(json.dumps(row, ensure_ascii=False) + "\n")
        self.counts[part] += 1
        self.bytes[part] += _size(row)

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def balance(self) -> None:
        """Call after the last row: moves records so that neither part is empty.

        Raises:
            LmwrightError: if all records are the same, so that no two parts can be made.
        """
        empty = [part for part in PARTS if not self.counts[part]]
        if len(empty) != 1:
            return
        self._close()
        (full,) = set(PARTS) - set(empty)
        rows = self.folder / f"{full}.jsonl"
        moved = self._nearest_hash(rows, lowest=full == "train")
        parts: list[tuple[str, dict[str, Any]]] = []
        for row in _read(rows):
            here = content_hash(content_key(self.kind, row)) != moved
            parts.append((full if here else empty[0], row))
        if all(part == empty[0] for part, _ in parts):
            parts = self._cut_in_two([row for _, row in parts])
        self._start()
        for part, row in parts:
            self.write_to(part, row)

    def _nearest_hash(self, rows: Path, *, lowest: bool) -> float:
        hashes = (content_hash(content_key(self.kind, row)) for row in _read(rows))
        return min(hashes) if lowest else max(hashes)

    def _cut_in_two(self, rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        cut = halves(rows[0]["text"], self.fraction) if self.kind == "text" else None
        if cut is None:
            raise LmwrightError(
                f"all {self.kind} of the corpus are the same: none is left for validation",
                hint="give at least two different ones",
            )
        return [(part, {**rows[0], "text": text}) for part, text in zip(PARTS, cut, strict=True)]


def _size(row: Mapping[str, Any]) -> int:
    if "text" in row:
        return len(row["text"].encode())
    messages = [*row.get("messages", ()), *row.get("prompt", ()), *row.get("chosen", ())]
    messages += row.get("rejected", ())
    return sum(len(message["content"].encode()) for message in messages)


def _read(file: Path) -> list[dict[str, Any]]:
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]

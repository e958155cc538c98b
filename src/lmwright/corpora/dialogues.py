"""From conversations to pairs: what was said so far, and the assistant's next turn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.corpora.records import BadRow, records_of

CHAT_COLUMNS = (
    ("messages",),
    ("conversations",),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
)
"""Columns of rows that hold a conversation; `corpora.records` tells what may be in them."""

Messages = Sequence[Mapping[str, str]]


def joined(messages: Messages) -> str:
    """What was said, oldest first, a line for each turn: roles take turns and need no names."""
    return "\n".join(message["content"].strip() for message in messages)


def pairs_of(messages: Messages) -> Iterator[dict[str, str]]:
    """A pair for each of the assistant's turns that has something before it.

    Args:
        messages: `{"role": ..., "content": ...}`, oldest first.

    Returns:
        rows of `source`, all turns before; `target`, the turn; and, from the second on, `opening`,
        the first one's source: pairs of one conversation belong to one split.
    """
    opening = None
    for index, message in enumerate(messages):
        source, target = joined(messages[:index]), message["content"].strip()
        if message["role"] != "assistant" or not source.strip() or not target:
            continue
        row = {"source": source, "target": target}
        yield row if opening is None else {**row, "opening": opening}
        opening = opening or source


def pairs_in(place: str, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pairs of a row of `CHAT_COLUMNS`; none where the assistant never answers.

    Args:
        place: of the row, for messages.
        row: a conversation, also one whose last answer stands beside it in `answer`.

    Raises:
        LmwrightError: if it is malformed.
    """
    try:
        records = records_of(row)
    except BadRow as error:
        raise LmwrightError(f"{place} {error}") from error
    pairs: list[dict[str, str]] = []
    for record in records:
        messages = list(record.row.get("messages", ()))
        if record.kind == "questions":
            messages.append({"role": "assistant", "content": str(record.row["answer"])})
        pairs += pairs_of(messages)
    return pairs

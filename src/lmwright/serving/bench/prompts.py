"""What the load asks: chats or texts from a file, or pieces of Python's own documentation."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from lmwright.core.errors import LmwrightError

_POOL_CHARACTERS = 1_000_000
"""Of documentation that pieces are drawn from: long enough that few prompts share a beginning."""
_QUESTION = "Explain this part of Python's documentation:\n\n"
_ROWS = 'write one JSON object a line: {"messages": [...]}, {"text": "..."} or {"prompt": "..."}'


@dataclass(frozen=True)
class Span:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    @classmethod
    def parse(cls, option: str, text: str) -> "Span":
        """Read `16-256`, or `64` for exactly 64.

        Raises:
            LmwrightError: if it is neither.
        """
        low, dash, high = text.partition("-")
        try:
            span = cls(int(low), int(high if dash else low))
        except ValueError:
            span = cls(0, 0)
        if not 1 <= span.low <= span.high:
            raise LmwrightError(
                f"{option} {text}: it is no range of lengths", hint="write it like 16-256"
            )
        return span

    def draw(self, random: Random) -> int:
        """A number whose logarithm is even over the span: short ones are common, long ones rare."""
        low, high = math.log(self.low), math.log(self.high + 1)
        return min(self.high, int(math.exp(random.uniform(low, high))))


@dataclass(frozen=True)
class Prompt:
    """One thing to ask.

    Args:
        content: a text, or the turns of a conversation.
        max_tokens: longest answer.
    """

    content: str | tuple[Mapping[str, Any], ...]
    max_tokens: int

    def messages(self) -> list[Mapping[str, Any]]:
        """The conversation; a text alone is the user's turn."""
        if isinstance(self.content, str):
            return [{"role": "user", "content": self.content}]
        return list(self.content)

    def text(self) -> str:
        """The text to go on from.

        Raises:
            LmwrightError: if it is a conversation.
        """
        if not isinstance(self.content, str):
            raise LmwrightError(
                "a conversation cannot be sent to the completions API",
                hint='use --api chat, or give a file of {"text": ...} rows',
            )
        return self.content


def read(file: Path, answers: Span, *, seed: int = 0) -> list[Prompt]:
    """Prompts of a JSON Lines file; a conversation's last turns are dropped if not the user's.

    Args:
        file: each row has `messages`, `text` or `prompt`, and may have `max_tokens`.
        answers: lengths of the answers of rows that name none, in tokens.
        seed: of the lengths that are drawn.

    Raises:
        LmwrightError: if a row is none of these; names its line.
    """
    random, prompts = Random(seed), []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LmwrightError(f"--prompts {file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            length = answers.draw(random)
            prompts.append(_row(line, f"{file}, line {number}", length))
    if not prompts:
        raise LmwrightError(f"--prompts {file} holds no row", hint=_ROWS)
    return prompts


def documentation(
    count: int, questions: Span, answers: Span, *, seed: int = 0, chat: bool = True
) -> list[Prompt]:
    """Pieces of Python's own documentation, of mixed lengths.

    Args:
        count: of prompts.
        questions: characters of a piece.
        answers: tokens of an answer at most.
        seed: the same seed gives the same prompts with the same Python.
        chat: put a question before each piece.
    """
    from lmwright.corpora.python_text import python_documents

    text = "\n\n".join(one.text for one in python_documents(_POOL_CHARACTERS))
    random, prompts = Random(seed), []
    for _ in range(count):
        length = questions.draw(random)
        start = random.randrange(max(1, len(text) - length))
        piece = text[start : start + length].strip() or text[:length]
        content = _QUESTION + piece if chat else piece
        prompts.append(Prompt(content, answers.draw(random)))
    return prompts


def endless(prompts: Sequence[Prompt]) -> Iterator[Prompt]:
    """The prompts in order, over and over."""
    while True:
        yield from prompts


def _row(line: str, where: str, length: int) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise LmwrightError(f"{where} is not JSON: {error}", hint=_ROWS) from error
    if not isinstance(row, dict):
        raise LmwrightError(f"{where} is no object", hint=_ROWS)
    length = row.get("max_tokens", length)
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise LmwrightError(f"{where}: max_tokens is {length!r}, not a number of tokens")
    if isinstance(turns := row.get("messages"), list):
        return Prompt(_asked(turns, where), length)
    text = row.get("text", row.get("prompt"))
    if not isinstance(text, str) or not text:
        raise LmwrightError(f"{where} has no messages and no text", hint=_ROWS)
    return Prompt(text, length)


def _asked(turns: list[Any], where: str) -> tuple[Mapping[str, Any], ...]:
    """The turns up to the last one that is not the assistant's, which is what is to be answered."""
    if not all(isinstance(turn, dict) and "role" in turn for turn in turns):
        raise LmwrightError(f"{where}: messages are objects with role and content")
    while turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    if not turns:
        raise LmwrightError(f"{where}: nobody asks anything in its messages")
    return tuple(turns)

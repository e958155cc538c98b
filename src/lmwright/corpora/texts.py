"""Documents of text: cutting long ones at paragraphs, and keeping the cuts of all in bounds."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BREAKS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"\s+"))


@dataclass(frozen=True)
class Document:
    """A piece of text.

    Args:
        text: not empty.
        source: the file or the name that it comes from, for people.
        group: documents of one group stay on one side of a split; None splits by own content.
    """

    text: str
    source: str
    group: str | None = None


def cut(text: str, characters: int) -> list[str]:
    """`text` in pieces of at most `characters`, cut at blank lines where there are any near.

    A piece ends at the last blank line in its second half, else at the last line end, else at the
    last space, else in the middle of a word. Joined, the pieces are the text, but for white space
    at the cuts.
    """
    return list(pieces_of([text], characters))


def pieces_of(blocks: Iterable[str], characters: int) -> Iterator[str]:
    """Text that arrives in blocks of any size, in pieces as of `cut`; holds little more than one.

    Args:
        blocks: together the text.
        characters: of a piece at most, 2 or more.
    """
    held = ""
    for block in itertools.chain(blocks, (None,)):
        held += block or ""
        # A piece is cut off only when what follows it is known, so blocks leave no trace.
        keep, start = (characters if block is None else 2 * characters), 0
        while len(held) - start > keep:
            end, following = _last_break(held, start + characters // 2, start + characters)
            if held[start:end].strip():
                yield held[start:end]
            start = following
        held = held[start:]
    if held.strip():
        yield held


def _last_break(text: str, low: int, high: int) -> tuple[int, int]:
    """Where to end a piece and where to start the next, with the end in [low, high]."""
    for pattern in _BREAKS:
        breaks = list(pattern.finditer(text, low, high))
        if breaks:
            return breaks[-1].start(), breaks[-1].end()
    return high, high


def halves(text: str, share: float) -> tuple[str, str] | None:
    """`text` in two parts, the second of about `share`; None where there is nothing to cut.

    For a text so short that it makes one document alone, and yet needs a validation part.
    """
    text = text.strip()
    middle = len(text) * (1 - share)
    for pattern in _BREAKS:
        breaks = list(pattern.finditer(text))
        if breaks:
            nearest = min(breaks, key=lambda m: abs(m.start() - middle))
            return text[: nearest.start()], text[nearest.end() :]
    return None

"""A model's own special tokens around a text or a pair, cut to fit, with where all came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Encoding

from lmwright.core.errors import LmwrightError
from lmwright.tokens.library import not_unicode

if TYPE_CHECKING:
    from lmwright.tokens.tokenizer import Tokenizer

Text: TypeAlias = str | Sequence[str]
"""A text, or its words."""

Truncation: TypeAlias = Literal["longest_first", "only_first", "only_second"]
"""Which part is cut where a text or pair is too long."""


@dataclass(frozen=True)
class Encoded:
    """T tokens as a model reads them.

    Attributes:
        input_ids: the tokens.
        token_type_ids: 0 and 1, what BERT tells the parts of a pair apart by.
        attention_mask: 1 for each token; rows of a batch are padded later.
        offsets: start and stop in the text, in characters; in the word where words were given.
            (0, 0) for special tokens.
        word_ids: number of the word in its part; None for special tokens.
        sequence_ids: 0 and 1, the part of the pair; None for special tokens.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    sequence_ids: list[int | None]

    def __len__(self) -> int:
        return len(self.input_ids)


def encode(
    tokenizer: "Tokenizer",
    text: Text,
    pair: Text | None = None,
    *,
    max_length: int | None = None,
    truncation: Truncation = "longest_first",
    is_split_into_words: bool = False,
) -> Encoded:
    """Ids of a text or a pair with the model's special tokens, as `tokenizer.json` has them.

    Args:
        tokenizer: whose ids.
        text: the text; its words where `is_split_into_words`.
        pair: the second part, likewise.
        max_length: most tokens, the special ones included; None: as many as there are.
        truncation: what is cut then: the longer part (both to half where both are longer), the
            first, or the second.
        is_split_into_words: the parts are lists of words, each encoded by itself.

    Raises:
        LmwrightError: if it is not Unicode, or `max_length` leaves no room for what is kept.
    """
    parts = _parts(tokenizer, text, pair, is_split_into_words)
    if max_length is not None:
        room = _room(tokenizer, parts, max_length)
        for part, size in zip(parts, _sizes(parts, room, truncation), strict=True):
            part.truncate(size)
    shift = is_split_into_words and not tokenizer.separates_words
    return _encoded(tokenizer, parts, shift=shift)


def windows(
    tokenizer: "Tokenizer", text: Text, pair: Text | None = None, *, max_length: int, stride: int
) -> list[Encoded]:
    """A long text, or a question and its long context, as several rows that overlap.

    The last part is cut into windows; a question before it is repeated in each whole. Offsets
    are those in the uncut text.

    Args:
        tokenizer: whose ids.
        text: the text, or the question.
        pair: the question's context.
        max_length: most tokens in a row, the special ones included.
        stride: tokens of the last part that a row repeats from the row before.

    Raises:
        LmwrightError: if a row has no room for more than `stride` new tokens.
    """
    parts = _parts(tokenizer, text, pair, words=False)
    last = parts[-1]
    room = _room(tokenizer, parts, max_length) - sum(len(part) for part in parts[:-1])
    if not 0 <= stride < room:
        raise LmwrightError(
            f"rows of {max_length} tokens have room for {max(0, room)} tokens of the text, and "
            f"stride={stride} of them would be repeated",
            hint="raise max_length, lower stride, or shorten the question",
        )
    last.truncate(room, stride=stride)
    rows = [last, *last.overflowing]
    return [_encoded(tokenizer, [*parts[:-1], row]) for row in rows]


def start(tokenizer: "Tokenizer") -> list[int]:
    """The special tokens that the tokenizer's models expect before a text."""
    around = encode(tokenizer, "a")
    before = next(i for i, part in enumerate(around.sequence_ids) if part is not None)
    return around.input_ids[:before]


def separates_words(rust: tokenizers.Tokenizer, begins: NDArray[np.bool_]) -> bool:
    """Whether words encoded by themselves begin like words; byte-level ones need a space before."""
    encoding = rust.encode(["a", "a"], is_pretokenized=True, add_special_tokens=False)
    return all(bool(begins[encoding.ids[encoding.word_ids.index(word)]]) for word in (0, 1))


def _parts(tokenizer: "Tokenizer", text: Text, pair: Text | None, words: bool) -> list[Encoding]:
    parts = [text] if pair is None else [text, pair]
    for part in parts:
        if isinstance(part, str) == words:
            what = "a list of words" if words else "a text"
            raise LmwrightError(f"{what} is needed, not {type(part).__name__}")
    if words and not tokenizer.separates_words:
        parts = [[w if w.startswith(" ") else f" {w}" for w in part] for part in parts]
    try:
        return [
            tokenizer.rust.encode(part, is_pretokenized=words, add_special_tokens=False)
            for part in parts
        ]
    except TypeError as error:
        raise not_unicode() from error


def _room(tokenizer: "Tokenizer", parts: list[Encoding], max_length: int) -> int:
    """Tokens of text that fit beside the special ones."""
    special = tokenizer.rust.num_special_tokens_to_add(len(parts) == 2)
    if max_length < special:
        raise LmwrightError(f"max_length={max_length} has no room for the {special} special tokens")
    return max_length - special


def _sizes(parts: list[Encoding], room: int, truncation: Truncation) -> list[int]:
    """Tokens kept of each part."""
    sizes = [len(part) for part in parts]
    excess = sum(sizes) - room
    if excess <= 0:
        return sizes
    if len(parts) == 1:
        return [room]
    if truncation == "longest_first":
        # The shorter part is whole where it takes no more than half; an odd token is the longer's.
        shorter = min(*sizes, room // 2)
        return [shorter, room - shorter] if sizes[0] <= sizes[1] else [room - shorter, shorter]
    cut = 0 if truncation == "only_first" else 1
    if sizes[cut] < excess:
        raise LmwrightError(
            f"the {('second', 'first')[cut]} part alone is longer than max_length allows, and only "
            f"the {('first', 'second')[cut]} may be cut",
            hint='raise max_length, or cut with truncation="longest_first"',
        )
    sizes[cut] -= excess
    return sizes


def _encoded(tokenizer: "Tokenizer", parts: list[Encoding], *, shift: bool = False) -> Encoded:
    """The parts among the special tokens.

    Args:
        tokenizer: whose special tokens.
        parts: one or two.
        shift: each word was given a space that is not in the caller's.
    """
    encoding = tokenizer.rust.post_process(parts[0], parts[1] if len(parts) > 1 else None)
    # Places are taken from the parts: the library has trimmed them there, and would again.
    back = int(shift)
    places = iter(
        [
            (number, (max(0, start - back), max(0, stop - back)))
            for number, part in enumerate(parts)
            for start, stop in part.offsets
        ]
    )
    origin = [(None, (0, 0)) if s else next(places) for s in encoding.special_tokens_mask]
    return Encoded(
        input_ids=encoding.ids,
        token_type_ids=encoding.type_ids,
        attention_mask=encoding.attention_mask,
        offsets=[place for _, place in origin],
        word_ids=encoding.word_ids,
        sequence_ids=[number for number, _ in origin],
    )

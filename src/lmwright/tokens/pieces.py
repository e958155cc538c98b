"""A rendered conversation cut into the pieces that are encoded apart.

Cuts are at special tokens of the markup and at the edges of the assistant's turns; what lies
between is plain text, whatever it looks like.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from lmwright.tokens.template import ChatTemplate, Message, Span


class Piece(NamedTuple):
    """A part of a conversation: one special token or a plain text.

    Args:
        text: the characters.
        special: it is the special token of that name.
        trained: the assistant would have to write it.
    """

    text: str
    special: bool
    trained: bool


def assistant_turns(template: ChatTemplate, messages: Sequence[Message]) -> list[Span | None]:
    """Where each assistant's turn lies in the rendered conversation, in characters.

    Returns:
        one span per assistant message, from the end of the generation prompt to the end of the
        turn's markup; None where the conversation so far is not a prefix of the whole, because
        the template writes earlier turns in another way once later ones exist.
    """
    whole = template.render(messages)
    turns: list[Span | None] = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = template.render(messages[:number], add_generation_prompt=True)
        until = template.render(messages[: number + 1])
        stable = until.startswith(before) and whole.startswith(until)
        turns.append((len(before), len(until)) if stable else None)
    return turns


def split(
    template: ChatTemplate,
    messages: Sequence[Message],
    turns: Sequence[Span],
    *,
    add_generation_prompt: bool = False,
) -> list[Piece]:
    """Cut the conversation at its special tokens and at the edges of `turns`.

    A turn is trained up to and including its last special token, the end of the turn; markup
    after it (a line end, in ChatML) is written by the template, never by the model. A turn
    without special tokens is trained whole.
    """
    text, contents = template.render_spans(messages, add_generation_prompt=add_generation_prompt)
    special = template.special_spans(text, contents)
    trained = []
    for start, stop in turns:
        ends = [end for begin, end in special if start <= begin and end <= stop]
        trained.append((start, max(ends, default=stop)))
    edges = {0, len(text)}.union(*special, *turns, *trained)
    specials = set(special)
    return [
        Piece(
            text[start:stop],
            special=(start, stop) in specials,
            trained=any(first <= start and stop <= last for first, last in trained),
        )
        for start, stop in pairwise(sorted(edges))
    ]

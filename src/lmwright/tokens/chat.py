"""Conversations to ids and loss masks, found by rendering prefixes of the conversation.

An assistant's turn is what `render(messages[:i + 1])` adds to `render(messages[:i])` with the
generation prompt: exactly what a model would have to write there. This works for any template
whose renderings are prefixes of each other, and is refused for the others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.tokens.continuation import Prefix
from lmwright.tokens.frames import agrees, learn_frames
from lmwright.tokens.packing import TokenDocument
from lmwright.tokens.pieces import Piece, assistant_turns, split
from lmwright.tokens.template import ChatTemplate, Message, check_messages

if TYPE_CHECKING:
    from lmwright.tokens.tokenizer import Tokenizer

# Enough for the Rust encoder to use every core, few enough to hold in memory.
CHATS_PER_BATCH = 8192
# Frames are compared with prefix rendering on the first conversations and on samples later.
COMPARED_FIRST = 64
COMPARED_EVERY = 1000


def encode(
    tokenizer: "Tokenizer",
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[int]:
    """Ids of a conversation; `Tokenizer.encode_chat` says what they promise."""
    check_messages(messages)
    template = tokenizer.template.with_tools(tools) if tools else tokenizer.template
    # A turn that the template rewrites later has no edges to keep; it is plain history.
    turns = [turn for turn in assistant_turns(template, messages) if turn is not None]
    pieces = split(template, messages, turns, add_generation_prompt=add_generation_prompt)
    return [int(token_id) for token_id in _join(tokenizer, [pieces])[0].ids]


def encode_with_mask(
    tokenizer: "Tokenizer", messages: Sequence[Message]
) -> tuple[list[int], list[bool]]:
    """Ids of a conversation, and which of them the assistant would have to write.

    Returns:
        ids and mask, of equal length. The mask is True on the assistant's contents and on the
        token that ends its turn.

    Raises:
        LmwrightError: if no token is trained, the messages are malformed, or the template writes
            earlier turns differently once later ones exist.
    """
    check_messages(messages)
    pieces = _rendered_pieces(tokenizer.template, messages)
    _need_trained(pieces)
    document = _join(tokenizer, [pieces])[0]
    assert document.mask is not None
    return [int(i) for i in document.ids], [bool(m) for m in document.mask]


def encode_chats(
    tokenizer: "Tokenizer", chats: Iterable[Sequence[Message]]
) -> Iterator[TokenDocument]:
    """`encode_with_mask` of many conversations, in order, encoded in batches.

    Raises:
        LmwrightError: as `encode_with_mask`, with the number of the conversation.
    """
    template = tokenizer.template
    numbered = enumerate(chats)
    while batch := list(islice(numbered, CHATS_PER_BATCH)):
        pieces = [training_pieces(template, number, messages) for number, messages in batch]
        yield from _join(tokenizer, pieces)


def end_of_turn(tokenizer: "Tokenizer") -> int | None:
    """The special token that ends an assistant's turn; None if the template uses none."""
    probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    turns = [turn for turn in assistant_turns(tokenizer.template, probe) if turn is not None]
    pieces = split(tokenizer.template, probe, turns)
    ends = [piece.text for piece in pieces if piece.special and piece.trained]
    return tokenizer.id_of(ends[-1]) if ends else None


def training_pieces(
    template: ChatTemplate, number: int, messages: Sequence[Message]
) -> list[Piece]:
    """The pieces of a conversation with the assistant's turns marked as trained.

    Args:
        template: how the conversation is written.
        number: its place among others, from 0; named in errors.
        messages: the turns.

    Raises:
        LmwrightError: as `encode_with_mask`.
    """
    frames = learn_frames(template)
    try:
        check_messages(messages)
        if frames and frames.fits(messages):
            pieces = frames.split(messages)
            if number < COMPARED_FIRST or number % COMPARED_EVERY == 0:
                assert agrees(frames, template, messages), f"frames differ on {messages}"
        else:
            pieces = _rendered_pieces(template, messages)
        _need_trained(pieces)
    except LmwrightError as error:
        raise LmwrightError(f"conversation {number + 1}: {error.what}", hint=error.hint) from error
    return pieces


def _need_trained(pieces: Sequence[Piece]) -> None:
    if not any(piece.trained for piece in pieces):
        raise LmwrightError(
            "a conversation has no token to train on",
            hint='it needs a message with "role": "assistant"',
        )


def _rendered_pieces(template: ChatTemplate, messages: Sequence[Message]) -> list[Piece]:
    turns = assistant_turns(template, messages)
    stable = [turn for turn in turns if turn is not None]
    if len(stable) < len(turns):
        raise LmwrightError(
            "the chat template writes earlier turns differently once later ones exist, so the "
            "assistant's tokens cannot be told",
            hint="cut the conversation after its first answer, or use a template without this",
        )
    return split(template, messages, stable)


def _join(tokenizer: "Tokenizer", chats: Sequence[Sequence[Piece]]) -> list[TokenDocument]:
    """Encode the pieces of many conversations; every different text once."""
    going_on = [_go_on(tokenizer.prefix, chat) for chat in chats]
    ids_of: dict[tuple[str, bool], list[int]] = {}
    for goes_on, encode_texts in (
        (False, tokenizer.encode_batch),
        (True, tokenizer.encode_continuations),
    ):
        texts = {
            piece.text: None
            for chat, marks in zip(chats, going_on, strict=True)
            for piece, mark in zip(chat, marks, strict=True)
            if mark == goes_on and not piece.special
        }
        encoded = zip(texts, encode_texts(list(texts)), strict=True)
        ids_of |= {(text, goes_on): ids for text, ids in encoded}
    documents = []
    for chat, marks in zip(chats, going_on, strict=True):
        ids: list[int] = []
        mask: list[bool] = []
        for (text, special, trained), mark in zip(chat, marks, strict=True):
            piece = [tokenizer.id_of(text)] if special else ids_of[text, mark]
            ids += piece
            mask += [trained] * len(piece)
        documents.append(TokenDocument(np.array(ids, np.uint32), np.array(mask, np.bool_)))
    return documents


def _go_on(prefix: Prefix, pieces: Sequence[Piece]) -> list[bool]:
    """Which pieces are encoded without the space that the tokenizer puts before a text."""
    if prefix == "none":
        return [False] * len(pieces)
    after_text = [False, *(not before.special or prefix == "text" for before in pieces[:-1])]
    return after_text[: len(pieces)]

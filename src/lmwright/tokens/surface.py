"""What each token reads as: its bytes, at the start of a text and after another token."""

import contextlib
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models

from lmwright.core.errors import LmwrightError
from lmwright.tokens.scored_bpe import BYTE_PIECE
from lmwright.tokens.stream import byte_of_character

# Decoders under which a token reads the same whatever follows it, so that it can be streamed.
_STREAMABLE = {
    *("ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip"),
    "WordPiece",
}
# Any token that no decoder changes.
_ANOTHER = "x"


@dataclass(frozen=True)
class Surface:
    """The bytes of text that ids stand for; special tokens are absent.

    Attributes:
        later: after another token.
        first: at the start of a text, where that is not the same.
    """

    later: dict[int, bytes]
    first: dict[int, bytes]


def surface(rust: tokenizers.Tokenizer) -> Surface:
    """The bytes that each id of a vocabulary stands for.

    Raises:
        LmwrightError: if a token's text depends on what follows it.
    """
    kinds = _decoder_kinds(rust.decoder)
    if not kinds <= _STREAMABLE:
        raise LmwrightError(
            "this tokenizer's text cannot be told token by token: its decoder is "
            + ", ".join(sorted(kinds - _STREAMABLE))
        )
    added = rust.get_added_tokens_decoder()
    special = {token_id for token_id, token in added.items() if token.special}
    ids = {
        token: token_id
        for token, token_id in rust.get_vocab(with_added_tokens=True).items()
        if token_id not in special
    }
    if "ByteLevel" in kinds:
        spoken = {token.content for token in added.values() if not token.special}
        return Surface({i: _byte_level(t, t in spoken) for t, i in ids.items()}, {})
    return _probed(rust.decoder, ids, bytes_stand="ByteFallback" in kinds)


def has_byte_pieces(rust: tokenizers.Tokenizer) -> bool:
    """Whether tokens such as `<0x0A>` stand for bytes."""
    return "ByteFallback" in _decoder_kinds(rust.decoder)


def _decoder_kinds(decoder: decoders.Decoder | None) -> set[str]:
    """The types of a decoder and of those it is made of."""
    if decoder is None:
        return set()
    # The library shows a decoder's parts nowhere but in what it writes to files.
    state = decoder.__getstate__()
    return set(_types(json.loads(state)))


def _types(part: Any) -> list[str]:
    inner = [name for child in part.get("decoders", []) for name in _types(child)]
    return [part["type"], *inner]


def _byte_level(token: str, spoken: bool) -> bytes:
    """Bytes of an entry of a byte-level vocabulary; an added token is written as it is spoken."""
    if not spoken:
        # By the library's own loops: character by character, a large vocabulary takes a second.
        with contextlib.suppress(UnicodeEncodeError):
            return token.translate(_latin()).encode("latin-1")
    return token.encode()


@cache
def _latin() -> dict[int, int]:
    """Byte-level characters to those of their bytes' numbers; others to none of Latin-1."""
    others = dict.fromkeys(range(0x100), 0xFFFF)
    return others | {ord(character): byte for character, byte in byte_of_character().items()}


def _probed(decoder: decoders.Decoder | None, ids: dict[str, int], *, bytes_stand: bool) -> Surface:
    """What a decoder makes of each token, alone and after another."""

    def decoded(*parts: str) -> str:
        # Without a decoder the library puts a space between tokens.
        text: str = decoder.decode(list(parts)) if decoder else " ".join(parts)
        return text

    before = len(decoded(_ANOTHER))
    first, later = {}, {}
    for token, token_id in ids.items():
        byte = BYTE_PIECE.fullmatch(token) if bytes_stand else None
        if byte:
            later[token_id] = bytes([int(byte[1], 16)])
            # A single byte of a character is no text yet; a space may be one that is left out.
            alone = decoded(token).encode() if later[token_id] == b" " else later[token_id]
        else:
            later[token_id] = decoded(_ANOTHER, token)[before:].encode()
            alone = decoded(token).encode()
        if alone != later[token_id]:
            first[token_id] = alone
    return Surface(later, first)


def begins_word(rust: tokenizers.Tokenizer, text_of: Surface, vocab_size: int) -> NDArray[np.bool_]:
    """Which ids begin a word, as masking whole words needs it.

    In a WordPiece vocabulary all that are not written with `##`; elsewhere those that begin with
    white space (of RoBERTa's and T5's vocabularies the published rule). A text's first token
    begins a word whatever it is. Special tokens and ids of no token do.

    Returns:
        (V,) bool.
    """
    begins = np.ones(vocab_size, np.bool_)
    if isinstance(rust.model, models.WordPiece):
        inside = re.compile(re.escape(rust.model.continuing_subword_prefix) + ".")
        for token_id in text_of.later:
            begins[token_id] = not inside.match(rust.id_to_token(token_id) or "")
    elif not isinstance(rust.model, models.WordLevel):
        for token_id, data in text_of.later.items():
            begins[token_id] = data[:1].isspace()
    return begins

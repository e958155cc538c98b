"""Tokenizers of llama2.c (`tokenizer.bin`, `tok512.bin`).

Source of the format: `tokenizer.py: export` and `run.c: build_tokenizer, encode, decode` of
karpathy/llama2.c. A 32-bit integer, the longest piece's bytes; then for each id its score (32-bit
float), its length (32-bit integer) and its bytes. Ids 0, 1, 2 are unknown, start and end, ids 3 to
258 the bytes. Spaces stand as spaces; the pieces are SentencePiece's BPE.
"""

import struct
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers

from lmwright.core.errors import LmwrightError
from lmwright.tokens.scored_bpe import BYTE_PIECE, byte_fallback_bpe, space_decoder

# run.c writes these two with line ends around them, for show.
_WRITTEN_START, _WRITTEN_END = "\n<s>\n", "\n</s>\n"
UNKNOWN, START, END = "<unk>", "<s>", "</s>"
_FIRST_PIECE = 3 + 256


def read(data: bytes, file: Path) -> list[tuple[str, float]]:
    """The pieces and scores in a file's bytes, in the order of their ids.

    Raises:
        LmwrightError: if the file is cut short or not llama2.c's.
    """
    try:
        return _entries(data)
    except (struct.error, ValueError) as error:
        raise LmwrightError(
            f"{file} is not a llama2.c tokenizer, or it is cut short: {error}",
            hint="copy it again",
        ) from error


def _entries(data: bytes) -> list[tuple[str, float]]:
    (longest,) = struct.unpack_from("<i", data, 0)
    entries: list[tuple[str, float]] = []
    place = 4
    while place < len(data):
        score, size = struct.unpack_from("<fi", data, place)
        place += 8
        if not 0 < size <= max(longest, len(_WRITTEN_END)) or place + size > len(data):
            raise ValueError(f"piece {len(entries)} cannot have {size} bytes")
        entries.append((data[place : place + size].decode("utf-8"), score))
        place += size
    names = [text for text, _ in entries]
    bytes_stand = all(BYTE_PIECE.fullmatch(name) for name in names[3:_FIRST_PIECE])
    if len(names) < _FIRST_PIECE or not bytes_stand:
        raise ValueError("the 256 bytes do not stand at ids 3 to 258")
    if (names[1].strip(), names[2].strip()) != (START, END):
        raise ValueError(f"ids 1 and 2 are {names[1]!r} and {names[2]!r}, not start and end")
    if len(set(names)) < len(names):
        raise ValueError("two pieces are the same")
    return entries


def convert(entries: list[tuple[str, float]], file: Path) -> tokenizers.Tokenizer:
    """The same tokenizer for the `tokenizers` library: one space, the text, best joins first."""
    texts = [UNKNOWN, START, END, *(text for text, _ in entries[3:])]
    vocabulary = {text: number for number, text in enumerate(texts)}
    rust = tokenizers.Tokenizer(
        byte_fallback_bpe(vocabulary, dict(entries[_FIRST_PIECE:]), UNKNOWN, str(file))
    )
    rust.normalizer = normalizers.Prepend(" ")
    rust.decoder = space_decoder(" ", leading_space=True, byte_pieces=True)
    rust.add_special_tokens([UNKNOWN, START, END])
    return rust


def names() -> dict[str, Any]:
    """The special tokens, as tokenizer_config.json names them."""
    return {"unk_token": UNKNOWN, "bos_token": START, "eos_token": END}

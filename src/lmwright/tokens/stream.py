"""Ids to text one at a time: what a reader may see while a model still writes."""

import codecs
from collections.abc import Mapping
from functools import lru_cache


class StreamDecoder:
    """Turns ids into text as they come, never half a character.

    The joined results of `push` and `flush` equal decoding all ids at once.

    Args:
        token_bytes: what each id stands for; an id that is absent stands for nothing (special
            tokens, and ids of a model whose vocabulary was padded).
        first: what ids stand for at the start, where that is another thing: a word without the
            space before it.
    """

    def __init__(
        self, token_bytes: Mapping[int, bytes], first: Mapping[int, bytes] | None = None
    ) -> None:
        self._token_bytes = token_bytes
        self._first: Mapping[int, bytes] | None = first or {}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; "" while a character is still unfinished."""
        data = self._token_bytes.get(token_id)
        if data is None:
            return ""
        if self._first is not None:
            data, self._first = self._first.get(token_id, data), None
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: a replacement character if a character never came whole."""
        return self._decoder.decode(b"", final=True)


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """The byte each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for the
    characters from U+0100 on (Radford et al. 2019, published `encoder.py`).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}

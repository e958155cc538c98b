"""How to end a JSON answer whose tokens run out, so that what was written still parses."""

from collections import Counter

from llguidance import LLMatcher, LLTokenizer

# Outside of strings: what ends something comes first, what begins something last, and of the
# beginnings those that end soonest. White space would only cost tokens.
_OUTSIDE = b'}],:"0123456789nft[{'
# A plan that needs more bytes is none: its answer is cut off like any other.
MOST_BYTES = 4096


class Closing:
    """Finds a short end for JSON answers in one vocabulary.

    Args:
        tokenizer: the vocabulary, as llguidance knows it.
        bytes_of: the id of the token that is just this byte, for those bytes that have one.
    """

    def __init__(self, tokenizer: LLTokenizer, bytes_of: dict[int, int]) -> None:
        self._tokenizer = tokenizer
        self._ids = bytes_of
        others = [byte for byte in range(0x21, 0x7F) if byte not in _OUTSIDE]
        self._outside = [*_OUTSIDE, *others, *range(0x80, 0x100)]
        # Letters before signs: a backslash would begin another character.
        inside = sorted(range(0x20, 0x100), key=lambda byte: (not chr(byte).isalnum(), byte))
        self._inside = [byte for byte in inside if byte not in b'"\\'] + [ord("\\")]

    def plan(self, matcher: LLMatcher, text: bytes) -> list[int] | None:
        """Tokens that complete an answer.

        Args:
            matcher: where the answer is; left as it is.
            text: the answer so far.

        Returns:
            Their ids, [] if it is complete already; None if no short end was found.
        """
        ending = self._ending(matcher.deep_copy(), text)
        if ending is None:
            return None
        for tokens in (
            self._tokenizer.tokenize_bytes(ending),
            self._tokenizer.greedy_tokenize(ending.decode(errors="ignore")),
            [self._ids[byte] for byte in ending],
        ):
            # A longer token may cross a border that the grammar's lexer draws.
            if self._spells(tokens, ending) and matcher.validate_tokens(tokens) == len(tokens):
                return tokens
        return None

    def _ending(self, matcher: LLMatcher, text: bytes) -> bytes | None:
        """Bytes that complete the answer; byte after byte the first that is allowed."""
        written, in_string = bytearray(text), _in_string(text)
        used: Counter[int] = Counter()
        while not matcher.is_accepting():
            if len(written) - len(text) >= MOST_BYTES:
                return None
            byte = self._next(matcher, in_string, used)
            if byte is None:
                return None
            written.append(byte)
            used[byte] += 1
            if byte == ord('"') and not _escaped(written):
                in_string = not in_string
        return bytes(written[len(text) :])

    def _next(self, matcher: LLMatcher, in_string: bool, used: Counter[int]) -> int | None:
        order: list[int] = self._outside
        if in_string:
            # The least used first: where a format wants an @ or a point, its turn comes.
            order = [ord('"'), *sorted(self._inside, key=used.__getitem__)]
        for byte in order:
            token = self._ids.get(byte)
            if token is not None and matcher.try_consume_tokens([token]) == 1:
                return byte
        return None

    def _spells(self, tokens: list[int], text: bytes) -> bool:
        return self._tokenizer.decode_bytes(tokens) == text


def _in_string(text: bytes) -> bool:
    """Whether a JSON text ends within a string."""
    inside = False
    for place, byte in enumerate(text):
        if byte == ord('"') and not (inside and _escaped(text[: place + 1])):
            inside = not inside
    return inside


def _escaped(text: bytes | bytearray) -> bool:
    """Whether an odd number of backslashes stands before the last byte."""
    before = text[:-1]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1

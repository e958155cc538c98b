"""Text that grows token by token and never shows a part of a stop string."""

from collections.abc import Sequence as Items
from typing import Protocol


class StreamDecoder(Protocol):
    """What a tokenizer's `stream_decoder()` gives: whole characters, as soon as they are whole."""

    def push(self, token_id: int) -> str:
        """The text that became certain with this token; "" inside a character."""

    def flush(self) -> str:
        """What is left at the end; an unfinished character becomes U+FFFD."""


def find_stop(text: str, stops: Items[str]) -> int | None:
    """Where the text is to be cut: the start of the stop string that is complete first.

    Of several that end at the same character, the longest. Reading character by character makes
    the result independent of how the text was cut into tokens.
    """
    ends = [(text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return None
    end, negative_length = min(ends)
    return end + negative_length


def held_back(text: str, stops: Items[str]) -> int:
    """Length of the longest end of `text` with which some stop string may still begin."""
    longest = min(len(text), max(map(len, stops), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(stop.startswith(tail) for stop in stops):
            return length
    return 0


class AnswerText:
    """Decodes one answer; what `push` and `finish` return, joined, is `text` at the end."""

    def __init__(self, decoder: StreamDecoder, stops: Items[str] = ()) -> None:
        self._decoder = decoder
        self._stops = stops
        self._waiting = ""  # decoded, not shown: a stop string may have begun in it
        self._shown: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        """Everything shown so far."""
        return "".join(self._shown)

    def push(self, token_id: int) -> str:
        """Take one token; return the text that may be shown now. Sets `stopped` at a stop string.

        Nothing is taken any more once `stopped`.
        """
        return self._take(self._decoder.push(token_id))

    def finish(self) -> str:
        """Return what is left to show when the answer ends, unless a stop string ended it."""
        if self.stopped:
            return ""
        shown = self._take(self._decoder.flush())
        if not self.stopped:
            # No more text comes: what only might have become a stop string did not.
            shown += self._show(len(self._waiting))
        return shown

    def _take(self, new: str) -> str:
        if self.stopped or not new:
            return ""
        self._waiting += new
        if not self._stops:
            return self._show(len(self._waiting))
        cut = find_stop(self._waiting, self._stops)
        if cut is not None:
            self.stopped = True
            shown = self._show(cut)
            self._waiting = ""
            return shown
        return self._show(len(self._waiting) - held_back(self._waiting, self._stops))

    def _show(self, length: int) -> str:
        shown, self._waiting = self._waiting[:length], self._waiting[length:]
        if shown:
            self._shown.append(shown)
        return shown

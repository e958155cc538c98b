"""What an engine process says about an answer, piece by piece."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lmwright.serving.channel import Message

Ending = Literal["stop", "length", "abort", "error", "refused", "timeout", "unread", "lost"]
"""The engine's own words; "refused": it did not take the prompt; "timeout": the request took too
long; "unread": its reader did not read; "lost": the engine process died."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What the engine has to say about an answer.

    Args:
        text: text that may be shown now.
        token_id: the token behind it; None where no token was generated.
        logprob: its natural-log probability, if asked for.
        ending: why the answer ended; None while it goes on.
        error: what went wrong, beside "error" and "refused".
        top: the likeliest tokens in its place, (id, log-probability) each, if asked for.
        prompt_logprobs: of the prompt's tokens, if asked for; comes once, as the engine gave it.
        vector: of an embedder, float32 in base64.
        joined: when the engine began to read the prompt, as `time`; comes once.
        time: when it happened, in `time.monotonic` seconds, which all processes of a machine
            count from the same instant.
    """

    text: str = ""
    token_id: int | None = None
    logprob: float | None = None
    ending: Ending | None = None
    error: str | None = None
    top: Sequence[tuple[int, float]] = ()
    prompt_logprobs: Sequence[Any] | None = None
    vector: str | None = None
    joined: float | None = None
    time: float = field(default_factory=time.monotonic)

    @property
    def says_something(self) -> bool:
        """Whether a reader learns anything from it."""
        spoken = self.text or self.ending is not None or self.logprob is not None
        return bool(spoken) or self.prompt_logprobs is not None

    @property
    def only_admits(self) -> bool:
        """Whether it says no more than that the engine has taken the prompt in."""
        return not self.says_something and self.token_id is None and self.vector is None

    def to_json(self) -> Message:
        """What differs from the defaults, without the time; see `from_json`."""
        given = {name: getattr(self, name) for name in _SENT}
        return {name: value for name, value in given.items() if value not in (None, "", ())}

    @classmethod
    def from_json(cls, message: Message, at: float) -> "Piece":
        """What `to_json` wrote; it happened at `at`."""
        top = tuple((token_id, logprob) for token_id, logprob in message.get("top", ()))
        return cls(**{**message, "top": top}, time=at)


_SENT = tuple(item.name for item in fields(Piece) if item.name != "time")

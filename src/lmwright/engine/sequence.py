"""One request on its way: prompt, tokens so far, text so far, why it ended."""

from collections.abc import Collection
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

from lmwright.engine.sampling import SamplingParams, random_stream
from lmwright.engine.stopping import AnswerText

FinishReason = Literal["stop", "length", "abort", "error"]
"""stop: an end token or a stop string; length: max_tokens or the context's end; abort: the caller
withdrew it; error: this request, and no other, could not be continued."""


@dataclass(frozen=True)
class Event:
    """What one step did to one request; the last event of a request has a finish reason."""

    request_id: int
    text: str
    """Text that may be shown now; never part of a stop string or of a character."""
    token_id: int | None
    """The token behind this event; None if the request ended without another."""
    finish_reason: FinishReason | None = None
    logprob: float | None = None
    """Natural log-probability of the token, if asked for."""
    error: str | None = None
    """What went wrong, where `finish_reason` is "error"."""


class Sequence:
    """A request's state, from waiting to finished.

    Args:
        request_id: the caller's handle.
        prompt_ids: at least one token.
        params: how to sample and when to stop.
        limit: most tokens to generate: `params.max_tokens`, clipped to the context.
        end_ids: tokens that end the answer, unless `params.ignore_eos`.
        text: decodes tokens as they come; None where only the ids matter until the end.
    """

    def __init__(
        self,
        request_id: int,
        prompt_ids: Items[int],
        params: SamplingParams,
        *,
        limit: int,
        end_ids: Collection[int],
        text: AnswerText | None,
    ) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.params = params
        self.limit = limit
        self.end_ids = frozenset() if params.ignore_eos else frozenset(end_ids)
        self.text = text
        self.random = random_stream(params)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        self.error: str | None = None

    def push(self, token_id: int, logprob: float | None) -> str:
        """Take the next token; return the text it allows to show. May set `finish_reason`."""
        self.token_ids.append(token_id)
        if logprob is not None:
            self.logprobs.append(logprob)
        if token_id in self.end_ids:
            # An end token is not part of the text, whatever the tokenizer would print for it.
            return self.finish("stop")
        shown = ""
        if self.text is not None:
            shown = self.text.push(token_id)
            if self.text.stopped:
                self.finish_reason = "stop"
                return shown
        if len(self.token_ids) >= self.limit:
            shown += self.finish("length")
        return shown

    def finish(self, reason: FinishReason) -> str:
        """End the answer; return the text that was held back."""
        shown = "" if self.text is None else self.text.finish()
        # What was held back may still have completed a stop string.
        stopped = self.text is not None and self.text.stopped
        self.finish_reason = "stop" if stopped and reason == "length" else reason
        return shown

    def fail(self, error: str) -> None:
        """End this request alone, saying why."""
        self.finish_reason = "error"
        self.error = error

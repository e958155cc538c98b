"""One request on its way: prompt, tokens so far, text so far, its blocks, why it ended."""

from collections.abc import Sequence as Items
from typing import TYPE_CHECKING, Literal, NamedTuple

from lmwright.engine.blocks import block_hash, root_hash
from lmwright.engine.params import SamplingParams
from lmwright.engine.stopping import AnswerText

if TYPE_CHECKING:
    from lmwright.engine.sampling import SamplingState

FinishReason = Literal["stop", "length", "abort", "error"]
"""stop: an end token or a stop string; length: max_tokens or the context's end; abort: the caller
withdrew it; error: this request, and no other, could not be continued."""

Top = tuple[tuple[int, float], ...]
"""Token ids and their natural log-probabilities, the likeliest first."""

PromptLogprob = tuple[int, float, Top]
"""A token of the prompt, its natural log-probability, and the likeliest tokens in its place."""


class Event(NamedTuple):
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
    top: Top = ()
    """The likeliest tokens in its place, if asked for."""
    prompt_logprobs: tuple[PromptLogprob, ...] | None = None
    """Of the prompt's tokens from the second on, if asked for; with the request's first event."""
    joined: float | None = None
    """When the first pass over its prompt began, `time.monotonic` seconds; with its first event."""


class Sequence:
    """A request's state, from waiting to finished.

    Args:
        request_id: the caller's handle.
        prompt_ids: at least one token.
        params: how to sample and when to stop.
        limit: most tokens to generate: `params.max_tokens`, clipped to the context.
        text: decodes tokens as they come; None where only the ids matter until the end.
        state: what the sampler remembers of this request; it knows the tokens that end the answer.
    """

    def __init__(
        self,
        request_id: int,
        prompt_ids: Items[int],
        params: SamplingParams,
        *,
        limit: int,
        text: AnswerText | None,
        state: "SamplingState",
    ) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.params = params
        self.limit = limit
        self.end_ids = state.end_ids
        self.text = text
        self.state = state
        self.ids = list(prompt_ids)
        """The prompt and the answer so far."""
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.tops: list[Top] = []
        self.prompt_logprobs: list[PromptLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.error: str | None = None
        self.joined: float | None = None
        """When the first pass over its prompt began, in `time.monotonic` seconds."""
        # The scheduler's:
        self.blocks: list[int] = []
        """Where its keys and values are, by position."""
        self.computed = 0
        """How many of `ids` have their keys and values in the cache."""
        self.drafts: list[int] = []
        """Tokens that may come next, to be checked together with the last one of `ids`."""
        self.hashes: list[bytes] = []
        """Of its full blocks, as far as anyone asked for them."""

    @property
    def remaining(self) -> int:
        """Tokens of `ids` that are still to be computed; 1 where it is being continued."""
        return len(self.ids) - self.computed

    @property
    def first_scored(self) -> int | None:
        """The first position whose scores say how likely a prompt's token was; None: not asked."""
        if not self.params.prompt_logprobs or self.token_ids:
            return None
        return len(self.prompt_logprobs)

    def hash_blocks(self, block_size: int, count: int) -> list[bytes]:
        """Hashes of the first `count` blocks, all of them full."""
        while len(self.hashes) < count:
            before = self.hashes[-1] if self.hashes else root_hash(self.params.adapter)
            start = len(self.hashes) * block_size
            self.hashes.append(block_hash(before, self.ids[start : start + block_size]))
        return self.hashes[:count]

    def push(self, token_id: int, logprob: float | None = None, top: Top = ()) -> str:
        """Take the next token; return the text it allows to show. May set `finish_reason`."""
        self.ids.append(token_id)
        self.token_ids.append(token_id)
        if logprob is not None:
            self.logprobs.append(logprob)
            self.tops.append(top)
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

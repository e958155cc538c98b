"""Sentence vectors behind the engine's calls: texts that wait share a pass, whoever sent them."""

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.engine.embedding import embed_ids
from lmwright.engine.stats import EngineStats
from lmwright.models.heads import Embedder
from lmwright.tokens.tokenizer import Tokenizer

# Texts of a pass. Vectors of two dozen words are limited by arithmetic from a few rows on; more
# rows only make the first of them wait.
ROWS = 32


@dataclass(frozen=True)
class VectorEvent:
    """A text's vector; beside `vector` the fields that `engine.Event`s have."""

    request_id: int
    vector: str | None
    """(D,) float32, little-endian, in base64."""
    finish_reason: str = "stop"
    error: str | None = None
    text: str = ""
    token_id: int | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    prompt_logprobs: None = None


class VectorEngine:
    """An embedder that is driven as `engine.LLM` is.

    Args:
        model: gives the vectors.
        tokenizer: its own.
    """

    max_sequences = ROWS

    def __init__(self, model: Embedder, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._ids = itertools.count()
        self._waiting: dict[int, Sequence[int]] = {}
        self._tokens = 0

    @property
    def context_length(self) -> int:
        """Most tokens of a text."""
        return self.model.head_config.max_length or self.model.config.max_position_embeddings

    def add(self, prompt: str | Sequence[int], params: Any) -> int:
        """Queue a text's ids; returns its id.

        Raises:
            LmwrightError: if it is empty, too long, or not of this vocabulary.
        """
        if isinstance(prompt, str) or not prompt:
            raise LmwrightError("the text has no tokens")
        if len(prompt) > self.context_length:
            raise LmwrightError(
                f"the text has {len(prompt)} tokens; this model reads {self.context_length}"
            )
        last = self.model.config.vocab_size - 1
        if min(prompt) < 0 or max(prompt) > last:
            raise LmwrightError(f"token ids must lie in this model's vocabulary, 0 .. {last}")
        request_id = next(self._ids)
        self._waiting[request_id] = prompt
        self._tokens += len(prompt)
        return request_id

    def abort(self, request_id: int) -> None:
        """Withdraw a text; unknown ids are fine."""
        self._waiting.pop(request_id, None)

    def has_work(self) -> bool:
        """Whether a text waits."""
        return bool(self._waiting)

    def step(self) -> list[VectorEvent]:
        """The vectors of those that have waited longest."""
        chosen = list(itertools.islice(self._waiting.items(), ROWS))
        rows = embed_ids(self.model, [ids for _, ids in chosen], self.tokenizer.pad_token_id)
        for request_id, _ in chosen:
            del self._waiting[request_id]
        return [
            VectorEvent(request_id, base64.b64encode(row.numpy().astype("<f4").tobytes()).decode())
            for (request_id, _), row in zip(chosen, rows, strict=True)
        ]

    def stats(self) -> EngineStats:
        """Its counts; there is no cache of keys and values."""
        waiting = len(self._waiting)
        return EngineStats(
            running=min(waiting, ROWS),
            waiting=max(0, waiting - ROWS),
            kv_blocks_total=0,
            kv_blocks_used=0,
            prefix_queries_tokens=0,
            prefix_hit_tokens=0,
            preemptions=0,
            drafts=0,
            draft_tokens=0,
            accepted_tokens=0,
            prompt_tokens=self._tokens,
            generation_tokens=0,
        )

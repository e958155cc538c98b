"""From the engine's pieces to the two wire formats, whole and streamed."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from lmwright.serving import responses
from lmwright.serving.answers import Answer, Piece, Reply

# What `decode` puts where a token holds a part of a character.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Format(Protocol):
    """How one kind of endpoint writes its answers."""

    def whole(self, reply: Reply) -> BaseModel:
        """The response once every answer has ended."""

    def opening(self, reply: Reply) -> Sequence[BaseModel]:
        """What a stream sends before the first token."""

    def chunk(self, answer: Answer, piece: Piece) -> BaseModel:
        """What a stream sends for a piece; the last piece of an answer says why it ended."""

    def counts(self, reply: Reply) -> BaseModel:
        """What a stream sends at the end where the token counts are wanted."""


def usage(reply: Reply) -> responses.Usage:
    """Token counts of a finished reply."""
    return responses.Usage(
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )


def finish_reason(ending: str | None) -> responses.FinishReason | None:
    """The wire's word for an ending; anything but "stop" and "length" has raised before."""
    assert ending in (None, "stop", "length"), ending
    return "stop" if ending == "stop" else "length" if ending == "length" else None


def head(prefix: str, model: str) -> dict[str, Any]:
    """What every object of one response carries: an id of its own, the time, the model."""
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


class ChatFormat:
    """`/v1/chat/completions`.

    Args:
        model: name of the served model.
        tokenizer: spells the tokens of log-probabilities.
        logprobs: whether they are wanted.
    """

    def __init__(self, model: str, tokenizer: Any, *, logprobs: bool) -> None:
        self._head = head("chatcmpl", model)
        self._tokenizer = tokenizer
        self._wants_logprobs = logprobs

    def whole(self, reply: Reply) -> responses.ChatCompletion:
        """One choice per answer."""
        choices = [
            responses.ChatChoice(
                index=answer.index,
                message=responses.ChatMessage(content=answer.text),
                logprobs=self._logprobs(answer.pieces),
                finish_reason=finish_reason(answer.ending) or "length",
            )
            for answer in reply.answers
        ]
        return responses.ChatCompletion(**self._head, choices=choices, usage=usage(reply))

    def opening(self, reply: Reply) -> list[responses.ChatCompletionChunk]:
        """The role of each answer, with no content yet."""
        delta = responses.ChatDelta(role="assistant", content="")
        return [self._chunk(answer.index, delta) for answer in reply.answers]

    def chunk(self, answer: Answer, piece: Piece) -> responses.ChatCompletionChunk:
        """The piece's text."""
        delta = responses.ChatDelta(content=piece.text or None)
        return self._chunk(answer.index, delta, self._logprobs([piece]), piece.ending)

    def counts(self, reply: Reply) -> responses.ChatCompletionChunk:
        """No choices, only the counts."""
        return responses.ChatCompletionChunk(**self._head, choices=[], usage=usage(reply))

    def _chunk(
        self,
        index: int,
        delta: responses.ChatDelta,
        logprobs: responses.ChatLogprobs | None = None,
        ending: str | None = None,
    ) -> responses.ChatCompletionChunk:
        choice = responses.ChatChunkChoice(
            index=index, delta=delta, logprobs=logprobs, finish_reason=finish_reason(ending)
        )
        return responses.ChatCompletionChunk(**self._head, choices=[choice])

    def _logprobs(self, pieces: Sequence[Piece]) -> responses.ChatLogprobs | None:
        if not self._wants_logprobs:
            return None
        content = [
            responses.TokenLogprob(
                token=text,
                logprob=logprob,
                # Half a character has bytes that its text no longer shows.
                bytes=None if _REPLACEMENT in text else list(text.encode()),
            )
            for text, logprob in _spelled(self._tokenizer, pieces)
        ]
        return responses.ChatLogprobs(content=content)


class CompletionFormat:
    """`/v1/completions`; arguments as `ChatFormat`'s."""

    def __init__(self, model: str, tokenizer: Any, *, logprobs: bool) -> None:
        self._head = head("cmpl", model)
        self._tokenizer = tokenizer
        self._wants_logprobs = logprobs
        self._offsets: dict[int, int] = {}  # of each answer, in characters

    def whole(self, reply: Reply) -> responses.Completion:
        """One choice per answer, the answers to the first prompt first."""
        choices = [
            self._choice(answer.index, answer.text, answer.pieces, answer.ending)
            for answer in reply.answers
        ]
        return responses.Completion(**self._head, choices=choices, usage=usage(reply))

    def opening(self, reply: Reply) -> list[responses.Completion]:
        """Nothing: a completion has no role."""
        return []

    def chunk(self, answer: Answer, piece: Piece) -> responses.Completion:
        """The piece's text."""
        choice = self._choice(answer.index, piece.text, [piece], piece.ending)
        return responses.Completion(**self._head, choices=[choice])

    def counts(self, reply: Reply) -> responses.Completion:
        """No choices, only the counts."""
        return responses.Completion(**self._head, choices=[], usage=usage(reply))

    def _choice(
        self, index: int, text: str, pieces: Sequence[Piece], ending: str | None
    ) -> responses.CompletionChoice:
        return responses.CompletionChoice(
            index=index,
            text=text,
            logprobs=self._logprobs(index, pieces),
            finish_reason=finish_reason(ending),
        )

    def _logprobs(self, index: int, pieces: Sequence[Piece]) -> responses.CompletionLogprobs | None:
        if not self._wants_logprobs:
            return None
        offset, offsets = self._offsets.get(index, 0), []
        spelled = _spelled(self._tokenizer, pieces)
        for text, _ in spelled:
            offsets.append(offset)
            offset += len(text)
        self._offsets[index] = offset
        return responses.CompletionLogprobs(
            tokens=[text for text, _ in spelled],
            token_logprobs=[logprob for _, logprob in spelled],
            text_offset=offsets,
        )


def _spelled(tokenizer: Any, pieces: Sequence[Piece]) -> list[tuple[str, float]]:
    """Text and log-probability of each token; end tokens, which have no text, are left out."""
    spelled = [
        (tokenizer.decode([piece.token_id]), piece.logprob)
        for piece in pieces
        if piece.token_id is not None and piece.logprob is not None
    ]
    return [(text, logprob) for text, logprob in spelled if text]

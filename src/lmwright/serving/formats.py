"""From the engine's pieces to what is sent, whole and streamed; see `chat_format` for chats."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from lmwright.serving import responses
from lmwright.serving.answers import Answer, Reply
from lmwright.serving.pieces import Piece
from lmwright.serving.spelling import CompletionSpeller, Speller, Top


class Format(Protocol):
    """How one kind of endpoint writes its answers."""

    id: str
    """Of the response."""

    def whole(self, reply: Reply) -> BaseModel:
        """The response once every answer has ended."""

    def opening(self, reply: Reply) -> Sequence[BaseModel]:
        """What a stream sends before the first token."""

    def chunk(self, answer: Answer, piece: Piece) -> BaseModel | None:
        """What a stream sends for a piece; the last piece of an answer says why it ended.

        None where a reader learns nothing from it.
        """

    def counts(self, reply: Reply) -> BaseModel:
        """What a stream sends at the end where the token counts are wanted."""


def usage(reply: Reply) -> responses.Usage:
    """Token counts of a finished reply."""
    return responses.Usage(
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )


def finish_reason(ending: str | None, calls: int = 0) -> responses.FinishReason | None:
    """The wire's word for an ending; anything but "stop" and "length" has raised before."""
    assert ending in (None, "stop", "length"), ending
    if ending == "stop":
        return "tool_calls" if calls else "stop"
    return "length" if ending == "length" else None


def head(prefix: str, model: str) -> dict[str, Any]:
    """What every object of one response carries: an id of its own, the time, the model."""
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


class CompletionFormat:
    """`/v1/completions`.

    Args:
        model: name of the served model.
        tokenizer: spells the tokens of log-probabilities.
        logprobs: how many of the likeliest tokens are wanted beside each; None: no logprobs.
        echo: texts of the prompts that the answers begin with; None: they begin with nothing.
        each: answers per prompt.
    """

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        *,
        logprobs: int | None,
        echo: Sequence[str] | None = None,
        each: int = 1,
    ) -> None:
        self._head = head("cmpl", model)
        self.id: str = self._head["id"]
        self._tokenizer = tokenizer
        self._wanted = logprobs
        self._echo = echo
        self._each = each
        self._spellers: dict[int, CompletionSpeller] = {}
        self._begun: set[int] = set()

    def whole(self, reply: Reply) -> responses.Completion:
        """One choice per answer, the answers to the first prompt first."""
        choices = [
            self._choice(answer, answer.text, answer.pieces, answer.ending)
            for answer in reply.answers
        ]
        return responses.Completion(**self._head, choices=choices, usage=usage(reply))

    def opening(self, reply: Reply) -> list[responses.Completion]:
        """Nothing: a completion has no role."""
        return []

    def chunk(self, answer: Answer, piece: Piece) -> responses.Completion | None:
        """The piece's text; the first also echoes the prompt."""
        choice = self._choice(answer, piece.text, [piece], piece.ending)
        spelled = choice.logprobs is not None and choice.logprobs.tokens
        if not (choice.text or spelled or choice.finish_reason):
            return None
        return responses.Completion(**self._head, choices=[choice])

    def counts(self, reply: Reply) -> responses.Completion:
        """No choices, only the counts."""
        return responses.Completion(**self._head, choices=[], usage=usage(reply))

    def _choice(
        self, answer: Answer, text: str, pieces: Sequence[Piece], ending: str | None
    ) -> responses.CompletionChoice:
        logprobs = self._logprobs(answer, pieces)
        if self._echo is not None and answer.index not in self._begun:
            text = self._echo[answer.index // self._each] + text
        self._begun.add(answer.index)
        return responses.CompletionChoice(
            index=answer.index,
            text=text,
            logprobs=logprobs,
            finish_reason=finish_reason(ending),
        )

    def _logprobs(
        self, answer: Answer, pieces: Sequence[Piece]
    ) -> responses.CompletionLogprobs | None:
        if self._wanted is None:
            return None
        if answer.index not in self._spellers:
            self._spellers[answer.index] = CompletionSpeller(
                Speller(self._tokenizer), self._tokenizer, alternatives=self._wanted > 0
            )
        tokens: list[tuple[int, float | None, Top]] = [
            (piece.token_id, piece.logprob, piece.top)
            for piece in pieces
            if piece.token_id is not None and piece.logprob is not None
        ]
        if self._echo is not None and answer.index not in self._begun:
            tokens = _prompt_tokens(answer) + tokens
        return self._spellers[answer.index].spell(tokens)


def _prompt_tokens(answer: Answer) -> list[tuple[int, float | None, Top]]:
    """The tokens of an answer's prompt; nothing says how likely the first is."""
    first: list[tuple[int, float | None, Top]] = [(int(t), None, ()) for t in answer.prompt[:1]]
    return [
        *first,
        *((token, logprob, top) for token, logprob, top in answer.prompt_logprobs or ()),
    ]

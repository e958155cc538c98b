"""The wire format of chat completions, whole and streamed."""

from collections.abc import Sequence
from typing import Any

from lmwright.serving import responses
from lmwright.serving.answers import Answer, Reply
from lmwright.serving.formats import finish_reason, head, usage
from lmwright.serving.pieces import Piece
from lmwright.serving.spelling import Speller
from lmwright.serving.tools import CallPart, Part, ToolText


class ChatFormat:
    """`/v1/chat/completions`.

    Args:
        model: name of the served model.
        tokenizer: spells the tokens of log-probabilities.
        logprobs: whether they are wanted.
        calls: reads the calls of one answer; None where no tool may be called.
    """

    def __init__(
        self, model: str, tokenizer: Any, *, logprobs: bool, calls: "ToolCalls | None" = None
    ) -> None:
        self._head = head("chatcmpl", model)
        self.id: str = self._head["id"]
        self._speller = Speller(tokenizer)
        self._wants_logprobs = logprobs
        self._calls = calls

    def whole(self, reply: Reply) -> responses.ChatCompletion:
        """One choice per answer."""
        choices = [self._choice(answer) for answer in reply.answers]
        return responses.ChatCompletion(**self._head, choices=choices, usage=usage(reply))

    def _choice(self, answer: Answer) -> responses.ChatChoice:
        message = responses.ChatMessage(content=answer.text)
        if self._calls is not None:
            message = called(self._calls.read(answer.index, answer.text, ended=True))
        return responses.ChatChoice(
            index=answer.index,
            message=message,
            logprobs=self._logprobs(answer.pieces),
            finish_reason=finish_reason(answer.ending, len(message.tool_calls or ())) or "length",
        )

    def opening(self, reply: Reply) -> list[responses.ChatCompletionChunk]:
        """The role of each answer, with no content yet."""
        delta = responses.ChatDelta(role="assistant", content="")
        return [self._chunk(answer.index, delta) for answer in reply.answers]

    def chunk(self, answer: Answer, piece: Piece) -> responses.ChatCompletionChunk | None:
        """The piece's text, or what it adds to a call."""
        calls = 0
        delta = responses.ChatDelta(content=piece.text or None)
        if self._calls is not None:
            ended = piece.ending is not None
            delta = added(self._calls.read(answer.index, piece.text, ended=ended))
            calls = self._calls.count(answer.index)
        logprobs = self._logprobs([piece])
        says_something = delta.content or delta.tool_calls or (logprobs and logprobs.content)
        if not says_something and piece.ending is None:
            return None
        return self._chunk(answer.index, delta, logprobs, finish_reason(piece.ending, calls))

    def counts(self, reply: Reply) -> responses.ChatCompletionChunk:
        """No choices, only the counts."""
        return responses.ChatCompletionChunk(**self._head, choices=[], usage=usage(reply))

    def _chunk(
        self,
        index: int,
        delta: responses.ChatDelta,
        logprobs: responses.ChatLogprobs | None = None,
        reason: responses.FinishReason | None = None,
    ) -> responses.ChatCompletionChunk:
        choice = responses.ChatChunkChoice(
            index=index, delta=delta, logprobs=logprobs, finish_reason=reason
        )
        return responses.ChatCompletionChunk(**self._head, choices=[choice])

    def _logprobs(self, pieces: Sequence[Piece]) -> responses.ChatLogprobs | None:
        return self._speller.in_chat(pieces) if self._wants_logprobs else None


class ToolCalls:
    """Reads the calls of all answers to one request; arguments as `ToolText`'s."""

    def __init__(self, *, bare: bool, several: bool) -> None:
        self._bare, self._several = bare, several
        self._texts: dict[int, ToolText] = {}

    def read(self, index: int, text: str, *, ended: bool) -> list[Part]:
        """What more of an answer's text says."""
        reader = self._texts.setdefault(index, ToolText(bare=self._bare, several=self._several))
        parts = reader.push(text)
        return parts + reader.finish() if ended else parts

    def count(self, index: int) -> int:
        """Calls of an answer so far."""
        return self._texts[index].calls


def called(parts: Sequence[Part]) -> responses.ChatMessage:
    """A whole answer, its calls apart from its text."""
    content = "".join(part for part in parts if isinstance(part, str))
    names: dict[str, str] = {}
    arguments: dict[str, str] = {}
    for part in parts:
        if isinstance(part, CallPart):
            names[part.id] = names.get(part.id) or part.name or ""
            arguments[part.id] = arguments.get(part.id, "") + part.arguments
    calls = [
        responses.CalledTool(
            id=call_id,
            function=responses.CalledFunction(name=name, arguments=arguments[call_id]),
        )
        for call_id, name in names.items()
    ]
    return responses.ChatMessage(
        content=content or (None if calls else ""), tool_calls=calls or None
    )


def added(parts: Sequence[Part]) -> responses.ChatDelta:
    """What the parts of one piece add to an answer."""
    content = "".join(part for part in parts if isinstance(part, str))
    first: dict[int, CallPart] = {}
    arguments: dict[int, str] = {}
    for part in parts:
        if isinstance(part, CallPart):
            first.setdefault(part.index, part)
            arguments[part.index] = arguments.get(part.index, "") + part.arguments
    calls = [
        responses.ToolDelta(
            index=index,
            id=None if part.name is None else part.id,
            type=None if part.name is None else "function",
            function=responses.FunctionDelta(name=part.name, arguments=arguments[index]),
        )
        for index, part in first.items()
    ]
    return responses.ChatDelta(content=content or None, tool_calls=calls or None)

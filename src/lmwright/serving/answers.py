"""The answers to one request, as the event loop sees them while the engine's thread works."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmwright.serving.errors import ApiError
from lmwright.serving.telemetry import Telemetry

Ending = Literal["stop", "length", "abort", "error", "refused"]


@dataclass(frozen=True, slots=True)
class Piece:
    """What the engine's thread has to say about an answer.

    Args:
        text: text that may be shown now.
        token_id: the token behind it; None where no token was generated.
        logprob: its natural-log probability, if asked for.
        ending: why the answer ended; None while it goes on.
        error: what went wrong, beside "error" and "refused".
        time: when it happened, in `time.monotonic` seconds.
    """

    text: str = ""
    token_id: int | None = None
    logprob: float | None = None
    ending: Ending | None = None
    error: str | None = None
    time: float = field(default_factory=time.monotonic)

    @property
    def says_something(self) -> bool:
        """Whether a reader learns anything from it."""
        return bool(self.text) or self.ending is not None or self.logprob is not None


class Answer:
    """One answer on its way.

    Attributes:
        request_id: the engine's handle, once it has taken the prompt in; the engine thread's own.
        cancelled: set when nobody waits any more.
        pieces: what came so far, tokens only.
        ending: why it ended, once it has.
    """

    def __init__(
        self, index: int, prompt: str | Sequence[int], params: Any, telemetry: Telemetry
    ) -> None:
        self.index = index
        self.prompt = prompt
        self.params = params
        self.request_id = -1
        self.cancelled = False
        self.pieces: list[Piece] = []
        self.ending: Ending | None = None
        self._telemetry = telemetry
        self._arrived = time.monotonic()

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def first_token_seconds(self) -> float | None:
        """From arrival to the first token, in seconds; None before it."""
        return self.pieces[0].time - self._arrived if self.pieces else None

    @property
    def tokens(self) -> int:
        """Generated tokens so far, an end token included."""
        return sum(piece.token_id is not None for piece in self.pieces)

    def put(self, piece: Piece) -> None:
        """Take a piece in and count it."""
        if piece.token_id is not None:
            self._count_token(piece)
        if piece.token_id is not None or piece.text:
            self.pieces.append(piece)
        if piece.ending is not None:
            self.ending = piece.ending
            self._count_ending(piece)

    def _count_token(self, piece: Piece) -> None:
        self._telemetry.generation_tokens.inc()
        if self.pieces:
            self._telemetry.between_tokens.observe(piece.time - self.pieces[-1].time)
        else:
            self._telemetry.first_token.observe(piece.time - self._arrived)

    def _count_ending(self, piece: Piece) -> None:
        telemetry = self._telemetry
        if piece.ending != "refused":
            telemetry.finished(str(piece.ending))
        if piece.ending not in ("stop", "length") or not self.pieces:
            return
        decode = piece.time - self.pieces[0].time
        telemetry.whole.observe(piece.time - self._arrived)
        telemetry.decode.observe(decode)
        telemetry.prompt_length.observe(len(self.prompt))
        telemetry.answer_length.observe(self.tokens)
        if self.tokens > 1:
            telemetry.per_token.observe(decode / (self.tokens - 1))


class Reply:
    """All answers to one request (`n` of them to each of its prompts), through one queue.

    Args:
        answers: numbered from 0.
        prompt_tokens: tokens of the prompts, each counted once.
        cancel: tells the engine's thread to forget an answer.
    """

    def __init__(
        self, answers: Sequence[Answer], prompt_tokens: int, cancel: Callable[[Answer], None]
    ) -> None:
        self.answers = answers
        self.prompt_tokens = prompt_tokens
        self._cancel = cancel
        self._queue: asyncio.Queue[tuple[Answer, Piece]] = asyncio.Queue()
        self._open = len(answers)

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, over all answers."""
        return sum(answer.tokens for answer in self.answers)

    def put(self, answer: Answer, piece: Piece) -> None:
        """Called in the event loop with what the thread sent."""
        answer.put(piece)
        self._queue.put_nowait((answer, piece))

    async def admitted(self) -> None:
        """Wait until the engine has taken every prompt in.

        Raises:
            ApiError: 400 if it refuses one, 500 if it failed meanwhile.
        """
        for _ in self.answers:
            _raise(await self._take(), (None,))

    async def pieces(self, patience: float) -> AsyncIterator[tuple[Answer, Piece] | None]:
        """The pieces as they come, until every answer has ended.

        Args:
            patience: seconds of silence after which None is given instead.

        Raises:
            ApiError: if an answer ends in any way but its own.
        """
        while self._open:
            try:
                async with asyncio.timeout(patience):
                    item = await self._take()
            except TimeoutError:
                yield None
                continue
            _raise(item, (None, "stop", "length"))
            yield item

    def close(self) -> None:
        """Nobody waits any more: whatever still goes on is stopped."""
        for answer in self.answers:
            if answer.ending is None and not answer.cancelled:
                answer.cancelled = True
                self._cancel(answer)

    async def _take(self) -> tuple[Answer, Piece]:
        item = await self._queue.get()
        self._open -= item[1].ending is not None
        return item


def _raise(item: tuple[Answer, Piece], fine: Sequence[Ending | None]) -> None:
    piece = item[1]
    if piece.ending in fine:
        return
    if piece.ending == "refused":
        raise ApiError(400, piece.error or "The engine refuses this request")
    if piece.ending == "abort":
        raise ApiError(503, "The server stopped before the answer was complete", code="aborted")
    raise ApiError(500, piece.error or "The engine failed", code="engine_error")

"""The answers to one request, as the event loop sees them while an engine process works."""

import asyncio
import base64
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from lmwright.serving.errors import ApiError
from lmwright.serving.pieces import Ending, Piece
from lmwright.serving.telemetry import Telemetry


class Answer:
    """One answer on its way.

    Attributes:
        number: by which the engine process knows it.
        cancelled: set when nobody waits any more.
        pieces: what came so far, tokens only.
        prompt_logprobs: as the engine gave them, once it has.
        vector: of an embedder, once it has come.
        ending: why it ended, once it has.
    """

    def __init__(
        self, index: int, prompt: str | Sequence[int], params: Any, telemetry: Telemetry
    ) -> None:
        self.index = index
        self.prompt = prompt
        self.params = params
        self.number = -1
        self.cancelled = False
        self.pieces: list[Piece] = []
        self.prompt_logprobs: Sequence[Any] | None = None
        self.vector: list[float] | None = None
        self.ending: Ending | None = None
        self.error: str | None = None
        self._telemetry = telemetry
        self._arrived = time.monotonic()
        self._joined: float | None = None

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
        if piece.joined is not None:
            self._joined = piece.joined
        if piece.token_id is not None:
            self._count_token(piece)
        if piece.token_id is not None or piece.text:
            self.pieces.append(piece)
        if piece.prompt_logprobs is not None:
            self.prompt_logprobs = piece.prompt_logprobs
        if piece.vector is not None:
            self.vector = array("f", base64.b64decode(piece.vector)).tolist()
        if piece.ending is not None:
            self.ending, self.error = piece.ending, piece.error
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
            known = piece.ending in ("stop", "length", "error")
            telemetry.finished(str(piece.ending) if known else "abort")
        if piece.ending not in ("stop", "length") or not self.pieces:
            return
        decode = piece.time - self.pieces[0].time
        telemetry.whole.observe(piece.time - self._arrived)
        telemetry.decode.observe(decode)
        if self._joined is not None:
            telemetry.queue.observe(self._joined - self._arrived)
            telemetry.prefill.observe(self.pieces[0].time - self._joined)
            telemetry.inference.observe(piece.time - self._joined)
        telemetry.prompt_length.observe(len(self.prompt))
        telemetry.answer_length.observe(self.tokens)
        if self.tokens > 1:
            telemetry.per_token.observe(decode / (self.tokens - 1))


class Reply:
    """All answers to one request (`n` of them to each of its prompts), through one queue.

    Args:
        answers: numbered from 0.
        prompt_tokens: tokens of the prompts, each counted once.
        cancel: makes the engine forget an answer.
        unread: most pieces that wait to be taken from `pieces`, for each answer.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        prompt_tokens: int,
        cancel: Callable[[Answer], None],
        *,
        unread: int = 1_024,
    ) -> None:
        self.answers = answers
        self.prompt_tokens = prompt_tokens
        self._cancel = cancel
        self._most_unread = unread * len(answers)
        self._queue: asyncio.Queue[tuple[Answer, Piece]] = asyncio.Queue()
        self._untaken = set(answers)
        self._taken = asyncio.Event()
        self._to_end = len(answers)  # that have not ended
        self._to_read = len(answers)  # whose end has not been read
        self._timer: asyncio.TimerHandle | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, over all answers."""
        return sum(answer.tokens for answer in self.answers)

    def end_after(self, seconds: float) -> None:
        """End with a time-out what has not ended by then."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self.end, "timeout")

    def put(self, answer: Answer, piece: Piece) -> None:
        """Called in the event loop with what the engine sent."""
        if answer.ending is not None:
            return  # it was ended here, and the engine did not know yet
        answer.put(piece)
        if self._untaken:
            self._untaken.discard(answer)
            if not self._untaken or piece.ending is not None:
                self._taken.set()
        if piece.only_admits:
            return
        self._queue.put_nowait((answer, piece))
        if piece.ending is not None:
            self._to_end -= 1
            if not self._to_end and self._timer is not None:
                self._timer.cancel()
        elif self._queue.qsize() > self._most_unread:
            self.end("unread")

    def end(self, ending: Ending) -> None:
        """End every answer that has not ended; the engine forgets them."""
        for answer in self.answers:
            if answer.ending is None:
                self._forget(answer)
                self.put(answer, Piece(ending=ending))

    async def admitted(self) -> None:
        """Wait until the engine has taken every prompt in.

        Raises:
            ApiError: 400 if it refuses one, 5xx if it failed meanwhile.
        """
        await self._taken.wait()
        for answer in self.answers:
            _raise(answer.ending, answer.error)

    async def pieces(self, patience: float) -> AsyncIterator[tuple[Answer, Piece] | None]:
        """The pieces as they come, until every answer has ended.

        Args:
            patience: seconds of silence after which None is given instead.

        Raises:
            ApiError: if an answer ends in any way but its own.
        """
        while self._to_read:
            if self._queue.empty():
                try:
                    async with asyncio.timeout(patience):
                        item = await self._queue.get()
                except TimeoutError:
                    yield None
                    continue
            else:
                # Behind already: one reader's backlog must not hold up the others', nor the news
                # that it has hung up.
                await asyncio.sleep(0)
                item = self._queue.get_nowait()
            self._to_read -= item[1].ending is not None
            _raise(item[1].ending, item[1].error)
            yield item

    def close(self) -> None:
        """Nobody waits any more: whatever still goes on is stopped."""
        if self._timer is not None:
            self._timer.cancel()
        for answer in self.answers:
            if answer.ending is None:
                self._forget(answer)

    def _forget(self, answer: Answer) -> None:
        if not answer.cancelled:
            answer.cancelled = True
            self._cancel(answer)


def _raise(ending: Ending | None, error: str | None) -> None:
    if ending in (None, "stop", "length"):
        return
    if ending == "refused":
        raise ApiError(400, error or "The engine refuses this request")
    if ending == "timeout":
        raise ApiError(504, "The request took longer than this server allows", code="timeout")
    if ending == "unread":
        raise ApiError(503, "The answer was not read as fast as it came", code="reader_too_slow")
    if ending == "lost":
        raise ApiError(
            503,
            "The engine stopped working while it computed this answer; it is being restarted",
            code="engine_lost",
            retry_after=2,
        )
    if ending == "abort":
        raise ApiError(503, "The server stopped before the answer was complete", code="aborted")
    raise ApiError(500, error or "The engine failed", code="engine_error")

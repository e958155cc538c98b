"""One thread that owns the engine, and the queue between it and the event loop.

The event loop never touches the engine: it hands over commands (add, abort) and sleeps on queues.
The thread takes commands between steps, runs a step while there is work, and otherwise sleeps on a
condition. What the engine generated crosses back once per step, not once per token.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from lmwright.core.errors import LmwrightError
from lmwright.serving.answers import Answer, Piece, Reply
from lmwright.serving.errors import ApiError
from lmwright.serving.limits import Limits
from lmwright.serving.model import Engine, Served
from lmwright.serving.telemetry import Telemetry

State = Literal["loading", "ready", "draining", "failed", "stopped"]

# A step that fails once may have met a bad request; one that always fails will not recover.
FAILURES_IN_A_ROW = 3

logger = logging.getLogger(__name__)


class Worker:
    """The engine's thread.

    Args:
        load: opens the model; runs in the thread.
        limits: when `submit` refuses.
        telemetry: counts what happens.
        loaded: told, in the event loop, that requests are taken from now on.
        failed: told, in the event loop, that loading failed or that the engine is beyond repair.

    Attributes:
        state: what the server may say about itself.
        served: the model, once loaded; outside the thread only its constants and counts are read.
    """

    def __init__(
        self,
        load: Callable[[], Served],
        *,
        limits: Limits,
        telemetry: Telemetry,
        loaded: Callable[[], None] = lambda: None,
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.state: State = "loading"
        self.served: Served | None = None
        self._load = load
        self._limits = limits
        self._telemetry = telemetry
        self._loaded = loaded
        self._failed = failed
        self._condition = threading.Condition()
        self._commands: deque[Callable[[Engine], None]] = deque()
        self._stopping = False
        self._running: dict[int, Answer] = {}  # by the engine's id; the thread's own
        self._in_flight: dict[Answer, Reply] = {}  # the event loop's own
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="lmwright-engine", daemon=True)

    # ---------------------------------------------------------------- in the event loop

    def start(self) -> None:
        """Start loading."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def ready(self) -> Served:
        """The model.

        Raises:
            ApiError: 503, with Retry-After while it is loading or draining.
        """
        if self.state == "ready" and self.served is not None:
            return self.served
        if self.state in ("failed", "stopped"):
            raise ApiError(503, "The engine has failed; restart the server", code="engine_failed")
        doing = "loading its model" if self.state == "loading" else "shutting down"
        raise ApiError(503, f"The server is {doing}", code=self.state, retry_after=2)

    def submit(
        self, prompts: Sequence[str | Sequence[int]], params: Sequence[Sequence[Any]]
    ) -> Reply:
        """Queue an answer to each prompt for each of its sampling parameters; all or none.

        Raises:
            ApiError: 429 if there is no room, 503 if the engine is not ready.
        """
        try:
            engine = self.ready().engine
        except ApiError:
            self._telemetry.rejected(self.state)
            raise
        pairs = [(prompt, p) for prompt, each in zip(prompts, params, strict=True) for p in each]
        self._check_room(engine, pairs)
        answers = [
            Answer(index, prompt, p, self._telemetry) for index, (prompt, p) in enumerate(pairs)
        ]
        reply = Reply(answers, sum(map(len, prompts)), self.cancel)
        self._telemetry.prompt_tokens.inc(reply.prompt_tokens)
        self._in_flight.update(dict.fromkeys(answers, reply))
        self._idle.clear()
        for answer in answers:
            self._command(self._add, answer)
        return reply

    def _check_room(self, engine: Engine, pairs: Sequence[tuple[str | Sequence[int], Any]]) -> None:
        if not self._in_flight and len(pairs) <= engine.max_sequences:
            return  # an idle server takes any prompt that its context has room for
        tokens = sum(len(prompt) for prompt, _ in pairs)
        tokens += sum(len(answer.prompt) for answer in self._in_flight)
        answers = len(pairs) + len(self._in_flight)
        if answers > engine.max_sequences + self._limits.waiting_requests:
            reason = "requests"
        elif tokens > self._limits.waiting_tokens:
            reason = "tokens"
        else:
            return
        self._telemetry.rejected(reason)
        retry_after = self._limits.retry_after
        raise ApiError(429, "The server is busy: its queue is full", retry_after=retry_after)

    def cancel(self, answer: Answer) -> None:
        """Make the engine forget an answer before its next step."""
        self._command(self._abort, answer)

    def drain(self) -> None:
        """Take nothing new; what is in flight goes on."""
        if self.state in ("loading", "ready"):
            self.state = "draining"

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    def measure(self) -> None:
        """Set the gauges to what is true now."""
        running = self.served.engine.running if self.served is not None else 0
        self._telemetry.running.set(running)
        self._telemetry.waiting.set(max(0, len(self._in_flight) - running))

    def stop(self) -> None:
        """End the thread after its current step; what was in flight ends with an error."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(seconds)

    def _command(self, method: Callable[[Engine, Answer], None], answer: Answer) -> None:
        with self._condition:
            self._commands.append(lambda engine: method(engine, answer))
            self._condition.notify()

    def _deliver(self, pieces: Sequence[tuple[Answer, Piece]]) -> None:
        for answer, piece in pieces:
            reply = self._in_flight.get(answer)
            if reply is None:
                continue
            reply.put(answer, piece)
            if piece.ending is not None:
                del self._in_flight[answer]
        if not self._in_flight:
            self._idle.set()

    def _ended(self, state: State, error: BaseException | None) -> None:
        self.state = state
        waiting = list(self._in_flight)
        self._deliver([(answer, Piece(ending="abort")) for answer in waiting])
        if error is not None:
            self._failed(error)

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        state: State = "failed"
        failure: BaseException | None = None
        try:
            self.served = self._load()
            if self.state == "loading":
                self.state = "ready"
                self._tell(self._loaded)
            self._serve(self.served.engine)
            state = "stopped"
        except BaseException as error:  # noqa: BLE001  handed to the event loop, which reports it
            failure = error
        self._tell(self._ended, state, failure)

    def _serve(self, engine: Engine) -> None:
        failures = 0
        while self._obey(engine):
            if not engine.has_work():
                continue
            try:
                self._step(engine)
                failures = 0
            except Exception:
                # No request can be blamed, so each is told; the worker then goes on with new ones.
                logger.exception("engine_step_failed")
                failures += 1
                if failures == FAILURES_IN_A_ROW:
                    raise
                self._clear(engine)

    def _obey(self, engine: Engine) -> bool:
        """Wait for something to do and carry out the commands; False when it is time to stop."""
        with self._condition:
            while not (self._commands or self._stopping or engine.has_work()):
                self._condition.wait()
            if self._stopping:
                return False
            commands, self._commands = self._commands, deque()
        for command in commands:
            command(engine)
        return True

    def _add(self, engine: Engine, answer: Answer) -> None:
        if answer.cancelled:
            self._send([(answer, Piece(ending="abort"))])
            return
        try:
            request_id = engine.add(answer.prompt, answer.params)
        except LmwrightError as error:
            self._send([(answer, Piece(ending="refused", error=str(error)))])
            return
        answer.request_id = request_id
        self._running[request_id] = answer
        self._send([(answer, Piece())])  # taken in

    def _abort(self, engine: Engine, answer: Answer) -> None:
        if self._running.pop(answer.request_id, None) is not None:
            engine.abort(answer.request_id)
            self._send([(answer, Piece(ending="abort"))])

    def _step(self, engine: Engine) -> None:
        events = engine.step()
        now = time.monotonic()
        pieces: list[tuple[Answer, Piece]] = []
        for event in events:
            answer = self._running.get(event.request_id)
            if answer is None:  # the engine's last word on one that was aborted
                continue
            ending, error = event.finish_reason, event.error
            pieces.append(
                (answer, Piece(event.text, event.token_id, event.logprob, ending, error, now))
            )
            if ending is not None:
                del self._running[event.request_id]
        self._send(pieces)

    def _clear(self, engine: Engine) -> None:
        """After a failed step: end every request, so that the engine starts afresh."""
        error = "The engine failed while it computed this answer"
        self._send([(a, Piece(ending="error", error=error)) for a in self._running.values()])
        for request_id in self._running:
            engine.abort(request_id)
        self._running.clear()

    def _send(self, pieces: Sequence[tuple[Answer, Piece]]) -> None:
        if pieces:
            self._tell(self._deliver, pieces)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop may be closed already when the process ends in the middle of a step.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

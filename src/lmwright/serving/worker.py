"""The door to the engine: who is let in, and who is told why not.

The API process never computes. It hands requests to an engine process through a channel and sleeps
on queues; what a step generated crosses back in one message.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from lmwright.serving.answers import Answer, Reply
from lmwright.serving.connection import Connection
from lmwright.serving.errors import ApiError
from lmwright.serving.limits import Limits
from lmwright.serving.model import Kind, Served
from lmwright.serving.supervisor import SILENT_SECONDS, Start, State, Supervisor
from lmwright.serving.telemetry import Telemetry


class Worker:
    """The engine, from the event loop's side.

    Args:
        start: starts an engine process.
        limits: when `submit` refuses.
        telemetry: counts what happens.
        loaded: told that requests are taken from now on; again after each restart and swap.
        failed: told that the model cannot be opened or that the engine is beyond repair.
    """

    def __init__(
        self,
        start: Start,
        *,
        limits: Limits,
        telemetry: Telemetry,
        loaded: Callable[[], None] = lambda: None,
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._limits = limits
        self._telemetry = telemetry
        self._idle = asyncio.Event()
        self._idle.set()
        self._supervisor = Supervisor(
            start, telemetry=telemetry, loaded=loaded, failed=failed, ended=self._ended
        )

    @property
    def state(self) -> State:
        """What the server may say about itself."""
        return self._supervisor.state

    @property
    def served(self) -> Served | None:
        """The model that new requests are for, once it is loaded."""
        return self._supervisor.served

    @property
    def in_flight(self) -> list[Answer]:
        """Answers that wait or are being generated, in every engine process."""
        return list(self._supervisor.answers())

    def start(self) -> None:
        """Start loading; in the event loop."""
        self._supervisor.start()

    def ready(self) -> Served:
        """The model.

        Raises:
            ApiError: 503, with Retry-After while it is loading or draining.
        """
        return self._supervisor.ready()

    def submit(
        self,
        prompts: Sequence[str | Sequence[int]],
        params: Sequence[Sequence[Any]],
        served: Served | None = None,
    ) -> Reply:
        """Queue an answer to each prompt for each of its sampling parameters; all or none.

        Args:
            prompts: token ids, or "" for a text out of nothing.
            params: `engine.params.SamplingParams`, as many for a prompt as it shall have answers.
            served: the model that the prompts were encoded for, as `ready` gave it; the answers
                come from it even if it has been swapped meanwhile. None: whichever is served now.

        Raises:
            ApiError: 429 if there is no room, 503 if the engine is not ready, 400 if the model
                only embeds.
        """
        connection = self._connection("generation", served)
        pairs = [(prompt, p) for prompt, each in zip(prompts, params, strict=True) for p in each]
        self._check_room(pairs)
        return self._send(connection, pairs, sum(map(len, prompts)))

    async def embed(
        self, inputs: Sequence[Sequence[int]], served: Served | None = None
    ) -> list[list[float]]:
        """The vector of each text.

        Args:
            inputs: token ids of each, from `Served.embedding_ids`, at most `context_length`.
            served: as for `submit`.

        Raises:
            ApiError: 400 if the model gives no vectors or refuses a text, else as `submit`'s
                and `Reply.pieces`'.
        """
        connection = self._connection("embedding", served)
        pairs = [(ids, _NoParams()) for ids in inputs]
        self._check_tokens(pairs)
        reply = self._send(connection, pairs, sum(map(len, inputs)))
        try:
            await reply.admitted()
            async for _ in reply.pieces(SILENT_SECONDS):
                pass
        finally:
            reply.close()
        vectors = [answer.vector for answer in reply.answers]
        return [vector for vector in vectors if vector is not None]

    async def swap(self, model: str | None = None) -> Served:
        """Serve another model, or the same folder's new weights, without dropping a request.

        A second engine process loads it while the first goes on. When it is ready it takes all new
        requests; the first finishes what it has, and ends. Both are in memory meanwhile.

        Args:
            model: a run, a run folder, a model folder or a hub id; None: the one served now.

        Returns:
            What is served from now on.

        Raises:
            LmwrightError: if it cannot be loaded; the old one goes on.
            ApiError: 409 while another swap goes on, 503 if there is no engine to take over from.
        """
        return await self._supervisor.swap(model)

    def drain(self) -> None:
        """Take nothing new; what is in flight goes on."""
        if self.state in ("loading", "ready"):
            self._supervisor.state = "draining"

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    def measure(self) -> None:
        """Set the gauges to what is true now."""
        running = self._supervisor.running()
        self._telemetry.running.set(running)
        self._telemetry.waiting.set(max(0, len(self.in_flight) - running))
        self._telemetry.engine_pid = self._supervisor.pid()

    def stop(self) -> None:
        """End the engine after its current step; what was in flight ends with an error."""
        self._supervisor.stop()

    async def close(self) -> None:
        """Wait for the end of the stopped engine."""
        await self._supervisor.close()

    def _connection(self, kind: Kind, served: Served | None) -> Connection:
        """The one that a request of this kind goes through."""
        try:
            now = self.ready()
        except ApiError:
            self._telemetry.rejected(self.state)
            raise
        served = served or now
        if served.kind != kind:
            does = "gives embeddings only" if kind == "generation" else "gives no embeddings"
            raise ApiError(400, f"This model {does}", param="model", code="unsupported_model")
        connection = self._supervisor.connection(served)
        if connection is None:
            self._telemetry.rejected("swapped")
            raise ApiError(503, "The model has been replaced", code="swapped", retry_after=1)
        return connection

    def _send(
        self, connection: Connection, pairs: Sequence[tuple[Any, Any]], prompt_tokens: int
    ) -> Reply:
        limits = self._limits
        answers = [Answer(i, prompt, p, self._telemetry) for i, (prompt, p) in enumerate(pairs)]
        reply = Reply(answers, prompt_tokens, self._supervisor.cancel, unread=limits.unread_pieces)
        if limits.request_seconds is not None:
            reply.end_after(limits.request_seconds)
        self._telemetry.prompt_tokens.inc(prompt_tokens)
        self._idle.clear()
        connection.add(reply)
        return reply

    def _check_room(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        most, in_flight = self.ready().max_sequences, len(self.in_flight)
        if in_flight and len(pairs) + in_flight > most + self._limits.waiting_requests:
            raise self._full("requests")
        self._check_tokens(pairs)

    def _check_tokens(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """An idle server takes any request; texts to embed are bounded by their tokens alone."""
        in_flight = self.in_flight
        tokens = sum(len(prompt) for prompt, _ in pairs)
        tokens += sum(len(answer.prompt) for answer in in_flight)
        if in_flight and tokens > self._limits.waiting_tokens:
            raise self._full("tokens")

    def _full(self, reason: str) -> ApiError:
        self._telemetry.rejected(reason)
        retry_after = self._limits.retry_after
        return ApiError(429, "The server is busy: its queue is full", retry_after=retry_after)

    def _ended(self) -> None:
        if not self.in_flight:
            self._idle.set()


class _NoParams:
    """What a text that only gets a vector asks of the sampler."""

    def to_json(self) -> dict[str, Any]:
        return {}

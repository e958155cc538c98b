"""Who sends when: so many clients that wait for their answers, or arrivals that wait for nobody."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from lmwright.serving.bench.outcomes import Outcome
from lmwright.serving.bench.prompts import Prompt, endless

Progress = Callable[[float, int, int, int], None]
"""Called about once a second with the seconds so far, and requests running, finished, failed."""


class Sender(Protocol):
    """Whoever sends a prompt and notes what happens; see `client.Client`."""

    async def send(self, prompt: Prompt, outcome: Outcome, clock: Callable[[], float]) -> None:
        """Send a prompt and write what happens into `outcome`."""
        ...


@dataclass(frozen=True)
class Load:
    """How much is asked of the server, and for how long.

    Args:
        clients: closed loop: each of so many sends its next request when the last is answered.
        rate: open loop instead: requests per second, as a Poisson process.
        requests: end after so many; None: no limit.
        seconds: end after so long, and cut off what runs then; None: no limit.
        seed: of the arrivals.
    """

    clients: int = 8
    rate: float | None = None
    requests: int | None = None
    seconds: float | None = None
    seed: int = 0


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Times in seconds of a Poisson process: independent, exponential gaps of mean 1 / rate."""
    random, moment = Random(seed), 0.0
    while True:
        moment += random.expovariate(rate)
        yield moment


async def run(
    sender: Sender, prompts: Sequence[Prompt], load: Load, progress: Progress | None = None
) -> tuple[list[Outcome], float]:
    """Put the load on; what happened to each request, in order of sending, and the seconds taken.

    Args:
        sender: sends one prompt.
        prompts: sent in order, over and over.
        load: at least one of its limits is set.
        progress: told now and then how it goes.
    """
    assert load.requests is not None or load.seconds is not None, "a load without an end"
    test = _Test(sender, prompts, load)
    watch = asyncio.create_task(test.watch(progress)) if progress else None
    try:
        async with asyncio.timeout(load.seconds):
            await (test.closed_loop() if load.rate is None else test.open_loop(load.rate))
    except TimeoutError:
        test.cut()
    finally:
        if watch is not None:
            watch.cancel()
    taken = test.clock() if load.seconds is None else min(test.clock(), load.seconds)
    return test.outcomes, taken


class _Test:
    """A load test under way."""

    def __init__(self, sender: Sender, prompts: Sequence[Prompt], load: Load) -> None:
        self._sender, self._load = sender, load
        self._prompts = endless(prompts)
        self._started = time.perf_counter()
        self.outcomes: list[Outcome] = []
        self._running = 0

    def clock(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def cut(self) -> None:
        """Mark what the end of the test cut off."""
        for one in self.outcomes:
            one.cut = one.finished is None and one.error is None

    async def closed_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._load.clients):
                group.create_task(self._client())

    async def open_loop(self, rate: float) -> None:
        async with asyncio.TaskGroup() as group:
            for due in arrivals(rate, self._load.seed):
                if self._enough():
                    break
                await asyncio.sleep(max(0.0, due - self.clock()))
                group.create_task(self._ask(self._outcome(due)))

    async def watch(self, progress: Progress) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(1)
                failed = sum(one.error is not None for one in self.outcomes)
                done = sum(one.finished is not None for one in self.outcomes)
                progress(self.clock(), self._running, done, failed)

    async def _client(self) -> None:
        while not self._enough():
            outcome = self._outcome(self.clock())
            await self._ask(outcome)
            if outcome.error is not None:
                # A server that refuses at once must not be asked again ten thousand times a second.
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, outcome: Outcome) -> None:
        self._running += 1
        outcome.sent = self.clock()
        try:
            await self._sender.send(next(self._prompts), outcome, self.clock)
        finally:
            self._running -= 1

    def _outcome(self, due: float) -> Outcome:
        self.outcomes.append(Outcome(due))
        return self.outcomes[-1]

    def _enough(self) -> bool:
        most = self._load.requests
        return most is not None and len(self.outcomes) >= most


_PAUSE_SECONDS = 0.1

"""Closed and open loops against a sender that takes a known time."""

import asyncio
import itertools
import math
import statistics

import pytest

from lmwright.serving.bench.load import Load, arrivals, run
from lmwright.serving.bench.prompts import Prompt

PROMPTS = [Prompt("a", 1), Prompt("b", 1), Prompt("c", 1)]


class Sender:
    """Answers after a while, and notes how many it had at once."""

    def __init__(self, seconds=0.01, error=None):
        self.seconds, self.error = seconds, error
        self.now = self.most = 0
        self.asked = []

    async def send(self, prompt, outcome, clock):
        self.asked.append(prompt.content)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
            outcome.arrivals.append(clock())
            if self.error:
                outcome.error = self.error
            else:
                outcome.finished = clock()
        finally:
            self.now -= 1


def test_arrivals_are_a_poisson_process():
    """Exponential gaps by the Kolmogorov-Smirnov test; the same seed gives the same arrivals."""
    rate, count = 5.0, 4_000
    moments = list(itertools.islice(arrivals(rate, 1), count))
    gaps = [b - a for a, b in zip([0.0, *moments], moments, strict=False)]
    farthest = max(
        abs((1 - math.exp(-rate * gap)) - place / count)
        for i, gap in enumerate(sorted(gaps))
        for place in (i, i + 1)
    )
    assert farthest < 1.95 / math.sqrt(count)  # p > 0.001
    # Independent of each other: neighbours are not correlated.
    correlation = statistics.correlation(gaps[:-1], gaps[1:])
    assert abs(correlation) < 3.3 / math.sqrt(count)
    assert moments == list(itertools.islice(arrivals(rate, 1), count))
    assert moments != list(itertools.islice(arrivals(rate, 2), count))


def test_a_closed_loop_never_has_more_than_its_clients_running():
    sender = Sender()
    outcomes, seconds = asyncio.run(run(sender, PROMPTS, Load(clients=3, requests=10)))
    assert len(outcomes) == 10
    assert sender.most == 3
    assert sender.asked == list("abcabcabca")
    assert all(one.finished is not None for one in outcomes)
    assert seconds >= max(one.finished for one in outcomes)


def test_an_open_loop_waits_for_nobody():
    """Every answer takes longer than the whole test: all requests are sent all the same."""
    sender = Sender(seconds=0.3)
    load = Load(rate=400.0, requests=40, seed=3)
    outcomes, _ = asyncio.run(run(sender, PROMPTS, load))
    assert sender.most == 40
    expected = list(itertools.islice(arrivals(400.0, 3), 40))
    assert [one.due for one in outcomes] == expected
    assert all(one.sent >= one.due for one in outcomes)


def test_the_end_cuts_off_what_runs():
    sender = Sender(seconds=0.08)
    outcomes, seconds = asyncio.run(run(sender, PROMPTS, Load(clients=2, seconds=0.2)))
    assert seconds == 0.2
    assert sender.now == 0, "nothing runs on"
    assert [one.cut for one in outcomes[-2:]] == [True, True]
    assert sum(one.finished is not None for one in outcomes) == len(outcomes) - 2


def test_a_server_that_refuses_at_once_is_not_hammered():
    sender = Sender(seconds=0.0, error="HTTP 503: loading")
    outcomes, _ = asyncio.run(run(sender, PROMPTS, Load(clients=1, seconds=0.35)))
    assert 1 < len(outcomes) < 10


@pytest.mark.parametrize("load", [Load(clients=1, requests=30), Load(rate=20.0, requests=30)])
def test_whoever_watches_is_told(load):
    told = []
    sender = Sender(seconds=0.05)
    asyncio.run(run(sender, PROMPTS, load, lambda *figures: told.append(figures)))
    assert told
    seconds, running, finished, failed = told[-1]
    assert seconds >= 1
    assert running >= 0
    assert 0 < finished <= 30
    assert failed == 0

"""Whether answers go on evenly while long prompts arrive, for `serving_load`."""

import contextlib
import http.client
import json
import random
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from common import Row, alternate

from lmwright.serving.bench.outcomes import Measured

LONG_PROMPT = 4_000
LEAST_RATIO = 0.5
"""Between two tokens at most twice the time that passes without long prompts."""
QUIET, CROWDED = "without", "beside long prompts"


@contextlib.contextmanager
def long_prompts(url: str, model: str, vocabulary: int) -> Iterator[list[int]]:
    """One client that sends prompts of 4,000 random tokens, the next when one has been read.

    Yields:
        The status of each response so far.
    """
    statuses: list[int] = []
    stop = threading.Event()
    draw = random.Random(1)
    address = urlsplit(url)

    def send() -> None:
        while not stop.is_set():
            ids = [draw.randrange(8, vocabulary) for _ in range(LONG_PROMPT)]
            body = json.dumps({"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0})
            connection = http.client.HTTPConnection(address.netloc, timeout=120)
            connection.request(
                "POST", "/v1/completions", body, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            connection.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def stall_rows(
    url: str,
    model: str,
    vocabulary: int,
    answers: Callable[[], Measured],
    rounds: int,
) -> list[Row]:
    """p99 of the time between two tokens of running answers, beside long prompts and without.

    Args:
        url: of a server that runs.
        model: its name there.
        vocabulary: V.
        answers: puts the load of running answers on.
        rounds: alternating ones.
    """
    read: list[int] = []

    def crowded() -> Measured:
        with long_prompts(url, model, vocabulary) as statuses:
            found = answers()
        read.extend(statuses)
        return found

    found = alternate({QUIET: answers, CROWDED: crowded}, rounds, say=lambda line: None)
    assert read, "no long prompt was read: nothing was measured"
    assert set(read) == {200}, f"long prompts were answered with {sorted(set(read))}"
    quiet, beside = _p99(found[QUIET]), _p99(found[CROWDED])
    return [
        Row(
            case=f"inter token latency, p99, beside prompts of {LONG_PROMPT:,} tokens",
            unit="ms",
            ours=1e3 * statistics.median(beside),
            peer="the same server without them",
            theirs=1e3 * statistics.median(quiet),
            values=[without / w for without, w in zip(quiet, beside, strict=True)],
            target=LEAST_RATIO,
            note=f"{len(read)} long prompts were read meanwhile",
        )
    ]


def _p99(rounds: Sequence[Measured]) -> list[float]:
    return [float(one.summary()["inter_token_latency_p99_seconds"]) for one in rounds]

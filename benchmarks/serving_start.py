"""Seconds from the command to the first token of a server that starts, beside the peers' servers.

    python benchmarks/serving_start.py            five alternating starts of each
    python benchmarks/serving_start.py --check    PASS or FAIL, about two minutes
    python benchmarks/serving_start.py --quick    one start of ours with a toy model
    ... --run quickstart                          that run's model in place of a random small one

Random models of the quickstart's shape and of 12 layers x 768, int8 weights here, q8_0 there. Ours
starts twice: as the first time, with weights quantised and packed, and as later, with the packed
ones mapped from their cache. How long `import torch` takes alone is timed beside them. The kernels
are compiled beforehand: once on a machine.
Extras: `bench`, `bench-llama`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from common import Report, Row, alternate
from inference_models import MIDDLE, SMALL_VOCABULARY, TOY, VOCABULARY, Formats, Shape, write_folder
from serving_servers import START_SECONDS, Server, ours, peers, running

from lmwright.core.device import physical_cores
from lmwright.engine.native import cache

QUICKSTART = Shape("4 x 256", 4, 256, 4, 2, 704)
"""4 million parameters, as the quickstart trains where it can."""
MOST_SECONDS = {QUICKSTART: 3.0, MIDDLE: 6.0}
FIRST, LATER, TORCH = "first start", "later start", "import torch"


def seconds_to_first_token(server: Server, log: Path) -> float:
    """Start a server, ask for one token until it answers, end it."""
    started = time.perf_counter()
    with running(server, log) as (url, _):
        model = server.model or json.loads(_answer(f"{url}/v1/models"))["data"][0]["id"]
        question = [{"role": "user", "content": "def"}]
        body = {"model": model, "messages": question, "max_tokens": 1, "stream": True}
        while time.perf_counter() - started < START_SECONDS:
            try:
                _answer(f"{url}/v1/chat/completions", body)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.01)  # it listens, and still loads
            else:
                return time.perf_counter() - started
    raise RuntimeError(f"{server.label} gave no token")


def import_torch() -> float:
    """What a process that computes with torch takes at the least, on the machine as it is now."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _answer(url: str, body: dict[str, object] | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def rows_of(
    name: str, mine: Server, rivals: list[Server], limit: float | None, rounds: int, log: Path
) -> list[Row]:
    """Ours from nothing and from its cache, beside the peer that is there first."""
    starts: dict[str, Callable[[], float]] = {
        FIRST: lambda: _with_cache("0", lambda: seconds_to_first_token(mine, log)),
        LATER: lambda: _with_cache(None, lambda: seconds_to_first_token(mine, log)),
        TORCH: import_torch,
    }
    for server in rivals:
        if server.absent is not None:
            print(f"  {server.label}: absent, {server.absent}")
            continue
        starts[server.label] = lambda server=server: seconds_to_first_token(server, log)  # type: ignore[misc]
    _with_cache(None, lambda: seconds_to_first_token(mine, log))  # fills the cache of weights
    found = alternate(starts, rounds)
    there = [label for label in starts if label not in (FIRST, LATER, TORCH)]
    best = min(there, key=lambda label: statistics.median(found[label]), default=None)
    torch = f"`import torch` alone {statistics.median(found[TORCH]):.2f} s"
    rows = []
    for start in (FIRST, LATER):
        rows.append(
            Row(
                case=f"{name}, {start}: to the first token",
                unit="s",
                ours=statistics.median(found[start]),
                peer="what is allowed" if limit else "",
                theirs=limit,
                values=[limit / seconds for seconds in found[start]] if limit else [],
                target=1.0 if limit else None,
                note="; ".join(
                    [*([_beside(found[start], best, found[best])] if best else []), torch]
                ),
            )
        )
    return rows


def _beside(mine: list[float], best: str, theirs: list[float]) -> str:
    ratio = statistics.median(theirs) / statistics.median(mine)
    return f"{best} {statistics.median(theirs):.2f} s, {ratio:.2f} times as long"


def _with_cache(limit: str | None, start: Callable[[], float]) -> float:
    """Start a server under another limit of the cache of packed weights; None: the usual one."""
    before = os.environ.pop(cache.LIMIT, None)
    if limit is not None:
        os.environ[cache.LIMIT] = limit
    try:
        return start()
    finally:
        os.environ.pop(cache.LIMIT, None)
        if before is not None:
            os.environ[cache.LIMIT] = before


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a toy model, one start")
    parser.add_argument("--check", action="store_true", help="PASS or FAIL, three starts of each")
    parser.add_argument("--rounds", type=int, help="alternating starts (default 5)")
    parser.add_argument("--run", help="a run whose model starts in place of the small one")
    options = parser.parse_args()
    # As users have it, with the modules that Python compiled at an earlier start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rounds = options.rounds or (1 if options.quick else 3 if options.check else 5)
    threads = physical_cores()
    report = Report("serving_start", {"rounds": rounds, "threads": threads})
    with tempfile.TemporaryDirectory() as scratch:
        for shape in (TOY,) if options.quick else (QUICKSTART, MIDDLE):
            rivals: list[Server] = []
            if shape is QUICKSTART and options.run:
                from lmwright.models.locate import find_model

                folder, name = find_model(options.run), options.run
            else:
                words = SMALL_VOCABULARY if options.quick else VOCABULARY
                folder = Path(scratch, shape.name.replace(" ", ""), "model")
                write_folder(shape, folder, vocabulary=words)
                name = shape.name
            if shape is MIDDLE:
                rivals = [variants[-1] for variants in peers(Formats(folder), threads, 8)]
            mine, limit = ours(folder, threads, 8)[0], MOST_SECONDS.get(shape)
            report.rows += rows_of(name, mine, rivals, limit, rounds, Path(scratch, "server.log"))
    report.show()
    print(f"written to {report.write(quick=options.quick)}")
    return report.verdict() if options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Our server under load, beside llama-cpp-python's, openvino-genai's and transformers' servers.

    python benchmarks/serving_load.py            one-minute rounds and a five-minute soak
    python benchmarks/serving_load.py --check    rounds of 15 s; PASS or FAIL, under 20 minutes
    python benchmarks/serving_load.py --quick    a toy model, to see that it runs; under a minute

64 clients with questions and answers of mixed lengths, each waiting for its answer before it asks
again (`lmwright bench serve`), on a random model of 12 layers x 768: int8 weights here, q8_0 there,
float32 in transformers. Servers are started afresh for every round, one at a time. Then
eight answers are timed while prompts of 4,000 tokens arrive, and a soak watches the memory of all
our processes.
Extras: `bench`, `bench-llama`; LLAMA_SERVER may name a binary of llama.cpp's own server, which the
Python package does not hold.
"""

import argparse
import asyncio
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import Report, Row, alternate
from inference_models import MIDDLE, SMALL_VOCABULARY, TOY, VOCABULARY, Formats, write_folder
from serving_servers import MemoryWatch, Server, growth, ours, peers, running
from serving_stalls import stall_rows

from lmwright.core.device import physical_cores
from lmwright.core.duration import Duration
from lmwright.serving.bench.client import first_model
from lmwright.serving.bench.http import Endpoint
from lmwright.serving.bench.load import Load
from lmwright.serving.bench.measure import measure
from lmwright.serving.bench.outcomes import Measured
from lmwright.serving.bench.prompts import Span, documentation

OVER_ONE_AT_A_TIME, OVER_PEERS, MEMORY_GROWTH = 3.0, 1.5, 0.02
ALONE = "one at a time"
TIMED = ("time_to_first_token", "inter_token_latency")


@dataclass
class Plan:
    """How long and how much.

    Args:
        clients: at once.
        rounds: alternating ones.
        round_seconds, trial_seconds, soak_seconds: of each; no trials at 0.
        questions: lengths in characters.
        answers: lengths in tokens.
        stall_clients, stall_seconds: beside long prompts.
    """

    clients: int = 64
    rounds: int = 5
    round_seconds: float = 60.0
    trial_seconds: float = 10.0
    soak_seconds: float = 300.0
    questions: Span = field(default_factory=lambda: Span(60, 1_500))
    answers: Span = field(default_factory=lambda: Span(16, 192))
    stall_clients: int = 8
    stall_seconds: float = 15.0


class Bench:
    """The servers' starts, each with a fresh process and a log of its own."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self._folder = plan, folder
        self._prompts = documentation(2_000, plan.questions, plan.answers)

    def load(self, server: Server, clients: int, seconds: float) -> Measured:
        """Start a server, put the load on for so long, end it."""
        with running(server, self._log(server)) as (url, _):
            found = self.measured(url, server, clients, seconds)
        speed = f"{found.tokens_per_second():,.0f} tokens/s"
        print(f"  {server.label}, {clients} clients: {speed} {found.errors or ''}", flush=True)
        return found

    def soak(self, server: Server) -> tuple[Measured, list[tuple[float, int]]]:
        """The load for as long as the plan says, and what memory our processes took meanwhile."""
        with running(server, self._log(server)) as (url, process), MemoryWatch(process) as watch:
            measured = self.measured(url, server, self.plan.clients, self.plan.soak_seconds)
        return measured, watch.samples

    def stalls(self, server: Server, vocabulary: int) -> list[Row]:
        """How evenly answers go on while long prompts arrive."""
        plan = self.plan
        with running(server, self._log(server)) as (url, _):
            model = asyncio.run(first_model(Endpoint.parse(url)))
            return stall_rows(
                url,
                model,
                vocabulary,
                lambda: self.measured(url, server, plan.stall_clients, plan.stall_seconds),
                3,
            )

    def measured(self, url: str, server: Server, clients: int, seconds: float) -> Measured:
        """The load on a server that runs."""
        return measure(
            url,
            self._prompts,
            Load(clients=clients, seconds=seconds),
            model=server.model,
            fields={"temperature": 0.0},
            warm_up=min(8, clients),
        )

    def best(self, variants: list[Server]) -> Server | None:
        """The variant with the highest throughput; None, said aloud, if none runs."""
        speeds: dict[Server, float] = {}
        for server in variants:
            if (reason := server.absent) is not None:
                print(f"  {server.label}: absent, {reason}")
                continue
            if not self.plan.trial_seconds:
                return server
            try:
                found = self.load(server, self.plan.clients, self.plan.trial_seconds)
            except Exception as error:  # noqa: BLE001 - a peer that does not run is reported
                print(f"  {server.label}: absent, {error}")
                continue
            speeds[server] = found.tokens_per_second()
        return max(speeds, key=lambda server: speeds[server], default=None)

    def _log(self, server: Server) -> Path:
        return self._folder / f"{server.package}.log"


def throughput_rows(found: dict[str, list[Measured]], mine: str, rivals: list[str]) -> list[Row]:
    """Ours beside the best peer, and beside itself with one client."""
    speeds = {name: [one.tokens_per_second() for one in all_] for name, all_ in found.items()}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(rivals, key=lambda name: medians[name], default=None)
    pairs = [
        ("throughput", best, OVER_PEERS),
        ("throughput, over one at a time", ALONE, OVER_ONE_AT_A_TIME),
    ]
    return [
        Row(
            case=case,
            unit="tokens/s",
            ours=medians[mine],
            peer=other or "absent",
            theirs=medians[other] if other else None,
            values=_ratios(speeds[mine], speeds[other]) if other else [],
            target=target,
            note="; ".join(f"{name} {medians[name]:,.0f}" for name in rivals) if best else "",
        )
        for case, other, target in pairs
    ]


def latency_rows(found: dict[str, list[Measured]], mine: str, rivals: list[str]) -> list[Row]:
    """p50 and p99 of the time to first token and between tokens, beside the lowest of the peers."""
    rows = []
    for name in TIMED:
        for percent in (50, 99):
            key = f"{name}_p{percent}_seconds"
            values = {one: _values(found[one], key) for one in (mine, *rivals)}
            there = [one for one in rivals if values[one]]
            best = min(there, key=lambda one: statistics.median(values[one]), default=None)
            rows.append(
                Row(
                    case=f"{name.replace('_', ' ')}, p{percent}",
                    unit="ms",
                    ours=1e3 * statistics.median(values[mine]) if values[mine] else None,
                    peer=best or "absent",
                    theirs=1e3 * statistics.median(values[best]) if best else None,
                    values=_ratios(values[best], values[mine]) if best else [],
                )
            )
    return rows


def soundness_rows(soak: Measured, samples: list[tuple[float, int]], plan: Plan) -> list[Row]:
    """No errors, and flat memory, of the soak."""
    found = soak.summary()
    ended = int(found["finished_requests"] or 0) + int(found["failed_requests"] or 0)
    length = Duration(plan.soak_seconds, "seconds")
    start = plan.soak_seconds / 5  # the first minute of five fills caches
    rows = [
        Row(
            case=f"soak of {length}: requests answered",
            unit="requests",
            ours=found["finished_requests"],
            peer="all that ended",
            theirs=ended,
            values=[(found["finished_requests"] or 0) / max(1, ended)],
            target=1.0,
            note="; ".join(f"{count} x {kind}" for kind, count in soak.errors.items()),
        )
    ]
    inside = [size for moment, size in samples if moment >= start]
    if inside:
        rows.append(
            Row(
                case=f"soak of {length}: growth of memory after its first fifth",
                unit="MB",
                ours=inside[-1] / 1e6,
                peer="the same processes before",
                theirs=inside[0] / 1e6,
                comparison="difference",
                values=[growth(samples, start, plan.soak_seconds)],
                target=MEMORY_GROWTH,
                note="along the least-squares line of a sample each second, as a share",
            )
        )
    return rows


def _values(rounds: list[Measured], key: str) -> list[float]:
    found = [one.summary()[key] for one in rounds]
    return [float(value) for value in found if value is not None]


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / max(b, 1e-9) for a, b in zip(above, below, strict=False)]


def compare(bench: Bench, formats: Formats, report: Report, *, check_soak: bool) -> list[Row]:
    """All rows."""
    plan, threads = bench.plan, physical_cores()
    mine = bench.best(ours(formats.folder, threads, plan.clients))
    assert mine is not None, "our own server does not run"
    chosen = [bench.best(variants) for variants in peers(formats, threads, plan.clients)]
    rivals = {server.label: server for server in chosen if server is not None}
    report.settings |= {"ours": mine.label, "peers": list(rivals)}
    everyone: dict[str, Any] = {
        server.label: lambda server=server: bench.load(server, plan.clients, plan.round_seconds)
        for server in (mine, *rivals.values())
    }
    everyone[ALONE] = lambda: bench.load(mine, 1, plan.round_seconds)
    found = alternate(everyone, plan.rounds, say=lambda line: None)
    rows = throughput_rows(found, mine.label, list(rivals))
    rows += latency_rows(found, mine.label, list(rivals))
    if plan.stall_seconds:
        rows += bench.stalls(mine, formats.vocabulary)
    if check_soak:
        measured, samples = bench.soak(mine)
        rows += soundness_rows(measured, samples, plan)
        report.settings["soak"] = measured.summary()
    return rows


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a toy model, under a minute")
    parser.add_argument("--check", action="store_true", help="PASS or FAIL, under 20 minutes")
    parser.add_argument("--rounds", type=int, help="alternating rounds (default 5; quick 1)")
    parser.add_argument("--round", help="length of a round (default 60s; check 15s)")
    parser.add_argument("--soak", help="length of the soak (default 5m)")
    parser.add_argument("--clients", type=int, help="at once (default 64)")
    options = parser.parse_args()
    plan = _plan(options)
    report = Report("serving_load", {"clients": plan.clients, "rounds": plan.rounds})
    report.settings |= {"round_seconds": plan.round_seconds, "threads": physical_cores()}
    with tempfile.TemporaryDirectory() as scratch:
        shape = TOY if options.quick else MIDDLE
        words = SMALL_VOCABULARY if options.quick else VOCABULARY
        formats = Formats(write_folder(shape, Path(scratch, "model"), vocabulary=words))
        bench = Bench(plan, Path(scratch))
        report.rows += compare(bench, formats, report, check_soak=plan.soak_seconds > 0)
    report.show()
    print(f"written to {report.write(quick=options.quick)}")
    return report.verdict() if options.check else 0


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan()
    if options.quick:
        plan = Plan(8, 1, 2.0, 0.0, 5.0, Span(20, 100), Span(4, 16), 2, 2.0)
    elif options.check:
        plan = Plan(round_seconds=15.0, trial_seconds=6.0)
    plan.clients = options.clients or plan.clients
    plan.rounds = options.rounds or plan.rounds
    if options.round:
        plan.round_seconds = Duration.parse(options.round).amount
    if options.soak:
        plan.soak_seconds = Duration.parse(options.soak).amount
    return plan


if __name__ == "__main__":
    raise SystemExit(main())

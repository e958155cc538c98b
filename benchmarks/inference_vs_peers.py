"""Inference speed against transformers, CTranslate2, openvino-genai and llama.cpp on a CPU.

    python benchmarks/inference_vs_peers.py            every case, about an hour on two cores
    python benchmarks/inference_vs_peers.py --check    int8 and int4; PASS or FAIL, 20 minutes
    python benchmarks/inference_vs_peers.py --quick    a toy, to see that it runs; under a minute
    ... --run quickstart     also: bits per byte of that run's model in each format
    ... --competitor         also: the middle shape while another process keeps a core busy

One random LLaMA-shaped model in three sizes, written once and converted for each peer: decoding
with about 300 tokens of context, alone and 16 sequences at once, and reading prompts of 280 and 512
tokens. Every peer runs at the best setting found for that kind of work, and the note says which.
Extras: `bench` (transformers, ctranslate2, openvino-genai), `bench-llama` (llama.cpp, compiled).
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import machine_limits
from common import Report, Row, alternate
from inference_contenders import Setting, Spec, Task, Timing
from inference_floor import Floor, floor_of
from inference_models import (
    LARGE,
    MIDDLE,
    SHAPES,
    SMALL_VOCABULARY,
    TOY,
    VOCABULARY,
    Formats,
    Shape,
    write_folder,
)
from inference_processes import Process, started
from machine_limits import Limits

from lmwright.core.device import physical_cores

BITS = {8: "int8", 4: "int4", 32: "fp32"}
DECODE_IN_CACHE, DECODE_OUT_OF_CACHE, BATCHED, PREFILL = 1.8, 1.0, 2.5, 2.0
WITHOUT_VNNI = 1.0
BANDWIDTH_SHARE = 0.8
HOPELESS = 0.5
"""A peer that reaches less than this share of the best one's speed sits out the rounds."""
TRIAL_SECONDS, ROUND_SECONDS = 0.1, 0.3
"""What is done in less is done again until then; its median counts."""


@dataclass(frozen=True)
class Work:
    """One kind of work: a row of the table.

    Args:
        name: for the table.
        task: what is done in a round.
        trial: the same, shorter, for finding the best settings.
        reading: whether the prompts count, or what is written after them.
        target: least ratio; None: by whether the weights fit the cache.
    """

    name: str
    task: Task
    trial: Task
    reading: bool
    target: float | None

    def rate(self, timing: Timing, task: Task) -> float:
        """Tokens per second."""
        if self.reading:
            return task.batch * task.prompt_tokens / timing.prefill
        return task.batch * (task.new_tokens - 1) / timing.decode


def works(shape: Shape, *, toy: bool) -> list[Work]:
    """What is measured of a shape."""
    length = 24 if toy else 268
    one, many = shape.new_tokens
    found = [
        Work("decode, batch 1", Task(1, length, one), Task(1, length, 12), False, None),
        Work("decode, batch 16", Task(16, length, many), Task(16, length, 12), False, BATCHED),
    ]
    lengths = (32,) if toy else (280, 512)
    return found + [
        Work(f"prefill {n}", Task(1, n, 1), Task(1, n, 1), True, PREFILL) for n in lengths
    ]


def contenders(formats: Formats, bits: int, threads: int) -> list[Spec]:
    """Ours first, then the peers that have a format of so many bits."""

    def spec(engine: str, path: Callable[[], Path], **options: str) -> Spec | None:
        try:
            return Spec(engine, path(), formats.vocabulary, threads, options)
        except Exception as error:  # noqa: BLE001 - a converter that fails makes its peer absent
            print(f"  {engine}: absent, the model was not converted: {error}")
            return None

    plain = formats.folder
    found = [spec("lmwright", lambda: plain, weights=BITS[bits])]
    if bits == 32:
        found += [
            spec("transformers", lambda: plain, dtype="float32"),
            spec("ctranslate2", lambda: formats.ctranslate2("float32")),
            spec("llama-cpp-python", lambda: formats.gguf("f32")),
        ]
    else:
        kind = {8: "q8_0", 4: "q4_0"}[bits]
        if bits == 8:
            found += [
                spec("transformers", lambda: plain),
                spec("ctranslate2", lambda: formats.ctranslate2("int8")),
            ]
        found += [
            spec("openvino-genai", lambda: formats.gguf(kind)),
            spec("llama-cpp-python", lambda: formats.gguf(kind)),
        ]
    return [one for one in found if one is not None]


@dataclass
class Entrant:
    """A contender for one kind of work, at its best setting."""

    process: Process
    setting: Setting
    rate: float


def trials(processes: Sequence[Process], work: Work, known: dict[str, Setting]) -> list[Entrant]:
    """Every contender at its fastest setting; peers without a chance are left out, ours never.

    Args:
        processes: ours first.
        work: what is to be fast.
        known: the best settings that a smaller shape found, which the next one starts from: trying
            all of them on the largest would take most of the time there is.
    """
    entrants = []
    for process in processes:
        key = f"{process.name}, {work.name}"
        settings = [known[key]] if key in known else process.settings
        found = [one for s in settings if (one := trial(process, s, work)) is not None]
        if not found:
            assert entrants, "ours failed"
            continue
        best = max(found, key=lambda entrant: entrant.rate)
        known[key] = best.setting
        print(f"  {work.name}: {process.label} {_shown(best.setting)}: {best.rate:,.0f} tokens/s")
        entrants.append(best)
    least = HOPELESS * max((e.rate for e in entrants[1:]), default=0.0)
    return [e for e in entrants if e is entrants[0] or e.rate >= least]


def trial(process: Process, setting: Setting, work: Work) -> Entrant | None:
    """A contender at one setting; None, said aloud, where it fails."""
    try:
        process.run(work.trial, setting)  # the first call allocates
        return Entrant(process, setting, rate_of(process, setting, work, work.trial, TRIAL_SECONDS))
    except RuntimeError as error:
        print(f"  {work.name}: {_shown(setting)}: {error}")
        return None


def rate_of(process: Process, setting: Setting, work: Work, task: Task, seconds: float) -> float:
    """Tokens per second, the median of what fits into so much time."""
    return statistics.median(work.rate(t, task) for t in process.run(task, setting, seconds))


def compare(
    shape: Shape,
    bits: int,
    processes: Sequence[Process],
    work: Work,
    limits: Limits,
    floor: Floor,
    rounds: int,
    known: dict[str, Setting],
    reading: Callable[[], float],
) -> list[Row]:
    """The rows of one kind of work of one shape in one precision.

    Args:
        shape, bits, work: which.
        processes: ours first.
        limits: of this machine.
        floor: of this shape and precision.
        rounds: alternating ones.
        known: see `trials`.
        reading: how fast memory is read at this moment, bytes per second.
    """
    case = f"{shape.name}, {BITS[bits]}, {work.name}"
    entrants = trials(processes, work, known)
    by_memory = work.target is None and bits != 32 and not floor.fits(limits)
    rates, speeds = measure(entrants, work, rounds, reading if by_memory else None)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ours, *peers = [entrant.process.label for entrant in entrants]
    best = max(peers, key=lambda name: medians[name], default=None)
    settings = {e.process.label: _shown(e.setting) for e in entrants}
    # Of the memory's speed in each turn, where that was measured.
    turns = [replace(limits, read_bytes_per_second=speed) for speed in speeds]
    shares = [
        rate * floor.seconds(work.task, then, reading=work.reading)
        for rate, then in zip(rates[ours], turns or [limits] * rounds, strict=True)
    ]
    share = statistics.median(shares)
    row = Row(
        case=case,
        unit="tokens/s",
        ours=medians[ours],
        peer="absent" if best is None else f"{best} {settings[best]}".strip(),
        theirs=None if best is None else medians[best],
        values=[]
        if best is None
        else [o / t for o, t in zip(rates[ours], rates[best], strict=True)],
        share_of_peak=share,
        target=None if bits == 32 else _target(work, limits, floor),
        note="; ".join(f"{name} {medians[name]:,.0f}" for name in peers),
    )
    rows = [row]
    if by_memory:
        speed = statistics.median(speeds) / 1e9
        rows.append(
            Row(
                case=f"{case}: share of the memory bandwidth",
                unit="GB/s",
                ours=share * speed,
                peer="reading memory, measured before and after",
                theirs=speed,
                values=shares,
                target=BANDWIDTH_SHARE,
            )
        )
    return rows


def measure(
    entrants: Sequence[Entrant],
    work: Work,
    rounds: int,
    reading: Callable[[], float] | None = None,
) -> tuple[dict[str, list[float]], list[float]]:
    """Tokens per second of each entrant in alternating rounds, each with prompts of its own.

    Returns:
        Rates by entrant; and, where `reading` is given, what it said around each turn of ours.
    """
    counts = dict.fromkeys((entrant.process.label for entrant in entrants), 0)
    speeds: list[float] = []

    def turn(entrant: Entrant) -> float:
        counts[entrant.process.label] += 1
        task = replace(work.task, seed=counts[entrant.process.label])
        return rate_of(entrant.process, entrant.setting, work, task, ROUND_SECONDS)

    def turn_of_ours() -> float:
        if reading is None:
            return turn(entrants[0])
        before = reading()
        rate = turn(entrants[0])
        speeds.append((before + reading()) / 2)
        return rate

    turns = {e.process.label: lambda e=e: turn(e) for e in entrants[1:]}  # type: ignore[misc]
    ours = {entrants[0].process.label: turn_of_ours}
    return alternate(ours | turns, rounds, say=lambda line: None), speeds


def _target(work: Work, limits: Limits, floor: Floor) -> float:
    if not limits.vnni:
        return WITHOUT_VNNI
    if work.target is not None:
        return work.target
    return DECODE_IN_CACHE if floor.fits(limits) else DECODE_OUT_OF_CACHE


def _shown(setting: Setting) -> str:
    words = [f"{name.replace('_', ' ')} {value}" for name, value in setting.items()]
    return f"({', '.join(words)})" if words else ""


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that keeps a core busy, as a neighbour on a shared machine does."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measured_limits(threads: int) -> Limits:
    """`machine_limits.measure` in a process of its own, whose threads end with it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(machine_limits.measure, (threads,))


def shape_rows(
    shape: Shape,
    bits: int,
    formats: Formats,
    limits: Limits,
    options: argparse.Namespace,
    known: dict[str, Setting],
    reading: Callable[[], float],
) -> list[Row]:
    """All rows of one shape in one precision; see `compare`."""
    rows: list[Row] = []
    threads, floor = physical_cores(), floor_of(formats.folder, bits)
    print(f"{shape.name}, {BITS[bits]}: {floor}")
    with started(contenders(formats, bits, threads)) as processes:
        for process in processes:
            if process.absent is not None:
                print(f"  {process.name}: absent, {process.absent}")
        there = [process for process in processes if process.absent is None]
        if not there or there[0].name != "lmwright":
            return [Row(f"{shape.name}, {BITS[bits]}", "", None, "ours did not open the model")]
        busy = options.competitor and shape == MIDDLE and bits == 8
        for crowded in (False, True) if busy else (False,):
            with busy_process() if crowded else nullcontext():
                for work in works(shape, toy=options.quick):
                    found = compare(
                        shape, bits, there, work, limits, floor, options.rounds, known, reading
                    )
                    rows += [_crowded(row) for row in found] if crowded else found
    return rows


def _crowded(row: Row) -> Row:
    return replace(row, case=f"{row.case}, beside a busy process", target=None)


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a toy model, under a minute")
    parser.add_argument("--check", action="store_true", help="PASS or FAIL, under 20 minutes")
    parser.add_argument("--rounds", type=int, help="alternating rounds (default 5; quick 2)")
    parser.add_argument("--only", help="one shape: small, middle or large")
    parser.add_argument("--competitor", action="store_true", help="also beside a busy process")
    parser.add_argument("--run", help="a run whose model's bits per byte are compared")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    limits = measured_limits(physical_cores())
    print(limits)
    report = Report(
        "inference_vs_peers",
        {"rounds": options.rounds, "threads": physical_cores(), "limits": asdict(limits)},
    )
    named = dict(zip(("small", "middle", "large"), SHAPES, strict=True))
    shapes = [TOY] if options.quick else [named[options.only]] if options.only else [*SHAPES]
    # What is best for the middle shape is tried on the largest; the smallest differs in kind.
    settings: dict[int, dict[str, Setting]] = {bits: {} for bits in BITS}
    for shape in shapes:
        with (
            tempfile.TemporaryDirectory() as scratch,
            machine_limits.reading_memory(physical_cores()) as reading,
        ):
            words = SMALL_VOCABULARY if options.quick else VOCABULARY
            formats = Formats(write_folder(shape, Path(scratch, "model"), vocabulary=words))
            for bits in _precisions(shape, options):
                known = settings[bits] if shape in (MIDDLE, LARGE) else {}
                report.rows += shape_rows(shape, bits, formats, limits, options, known, reading)
    if options.run:
        from inference_quality import quality_rows

        report.rows += quality_rows(options.run)
    report.show()
    print(f"written to {report.write(quick=options.quick, part=options.only or '')}")
    return report.verdict() if options.check else 0


def _precisions(shape: Shape, options: argparse.Namespace) -> Sequence[int]:
    return (8, 4) if options.check or options.quick or shape == LARGE else (8, 4, 32)


if __name__ == "__main__":
    raise SystemExit(main())

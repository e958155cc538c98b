"""Training speed, ours against the peers: same architecture, weights, data, batch and steps.

    python benchmarks/train_vs_peers.py            all cases, about an hour on two cores
    python benchmarks/train_vs_peers.py --check    the quickstart's model; PASS or FAIL
    python benchmarks/train_vs_peers.py --quick    a toy, to see that it runs; under a minute

Peers: transformers.Trainer with its default settings, the same tuned (best precision, compiled or
not), a tuned plain PyTorch loop over the transformers model; and nanoGPT, run unmodified from the
checkout that NANOGPT names, in its own CPU setting on tiny_shakespeare. Speeds are those of each
contender's fastest quarter of steps over all rounds; the rounds' own ratios stand in the notes.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from common import Report, Row, alternate
from torch import Tensor
from train_contenders import (
    HuggingFaceTrainer,
    Job,
    Ours,
    Outcome,
    PlainLoop,
    Variant,
    fastest,
    variants,
)
from train_nanogpt import nanogpt_rows

from lmwright import models
from lmwright.core import device
from lmwright.models import accounting
from lmwright.models.config import TransformerConfig
from lmwright.models.transformer import Decoder
from lmwright.tokens import tokenizer

DEFAULT_SPEEDUP = 1.8  # against transformers.Trainer as it comes
LOSS_TOLERANCE = 0.02  # nats

LOSS_SEEDS = range(3)
"""Weights and orders of the rows that final losses are means over: one training of 120 steps came
out 0.04 apart between the Trainer in fp32 and in bf16, which differ in rounding alone."""


@dataclass(frozen=True)
class Case:
    """A model, a batch, and how long to train.

    Args:
        name: for the table.
        width, layers, feed_forward, heads, key_value_heads, vocabulary: of the model.
        rows, row_length: of the batch.
        steps: of a timed round; the first `warm` of them are not timed.
        loss_steps: of the longer trainings whose final losses are compared.
    """

    name: str
    width: int
    layers: int
    feed_forward: int
    heads: int
    key_value_heads: int
    vocabulary: int
    rows: int
    row_length: int
    steps: int
    warm: int
    loss_steps: int


QUICKSTART = Case("quickstart, 4 M", 256, 5, 704, 4, 2, 2048, 32, 128, 20, 6, 60)
LARGER = Case("30 M", 512, 8, 1408, 8, 4, 4096, 16, 256, 10, 3, 30)
TOY = Case("toy", 64, 2, 128, 2, 1, 320, 8, 32, 6, 2, 6)


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a toy model, under a minute")
    parser.add_argument("--check", action="store_true", help="PASS or FAIL, under 20 minutes")
    parser.add_argument("--rounds", type=int, help="alternating rounds (default 5; quick 2)")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    torch.set_num_threads(device.physical_cores())
    report = Report("train_vs_peers", {"rounds": rounds, "threads": torch.get_num_threads()})
    for case in _cases(arguments.quick, arguments.check):
        print(f"{case.name}: {case}")
        report.rows += compare(case, rounds, compiling=_compiling(arguments.quick))
    report.rows += nanogpt_rows(
        quick=arguments.quick, rounds=1 if arguments.check or arguments.quick else rounds
    )
    report.show()
    print(f"written to {report.write(quick=arguments.quick)}")
    return report.verdict() if arguments.check else 0


def compare(case: Case, rounds: int, *, compiling: bool) -> list[Row]:
    """One case against the transformers peers: speed rows and a loss row."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            make_job(case, Path(folder, str(seed)), case.loss_steps, seed, compiling=compiling)
            for seed in LOSS_SEEDS
        ]
        short = jobs[0].shortened(case.steps)
        ours = Ours(short)
        default = HuggingFaceTrainer(Variant(), "default settings")
        tuned = fastest([HuggingFaceTrainer(v, "tuned") for v in variants(short)], short)
        plain = fastest([PlainLoop(v) for v in variants(short)], short)
        contenders = {"ours": ours, "default": default, "tuned": tuned, "plain": plain}
        for name, contender in contenders.items():
            print(f"  {name}: {contender}")
        outcomes = alternate({n: partial(c, short) for n, c in contenders.items()}, rounds)
        losses: dict[str, list[float]] = {name: [] for name in contenders}
        for job in jobs:
            for name, found in alternate(
                {n: partial(c, job) for n, c in contenders.items()}, 1
            ).items():
                losses[name].append(found[0].validation_loss)
        peak = max(device.matmul_peak("float32"), device.matmul_peak("bfloat16"))
        config = models.load(short.folder).config
    share = accounting.flops_per_token(config, case.row_length, training=True) / peak
    labels = {name: str(contender) for name, contender in contenders.items()}
    return [*speed_rows(case, outcomes, labels, share), loss_row(case, losses, labels)]


def speed_rows(
    case: Case,
    outcomes: dict[str, list[Outcome]],
    labels: dict[str, str],
    peak_share_per_speed: float,
) -> list[Row]:
    """Speed against the default Trainer and against the best tuned peer."""
    rounds = {name: [o.tokens_per_second for o in found] for name, found in outcomes.items()}
    speeds = {name: undisturbed(found) for name, found in outcomes.items()}
    best = max(("tuned", "plain"), key=lambda name: speeds[name])
    tuned_ratio = speeds["tuned"] / speeds["default"]

    def speed_row(peer: str, what: str, target: float, note: str) -> Row:
        return Row(
            case=f"{case.name}: {what}",
            unit="tokens/s",
            ours=speeds["ours"],
            peer=labels[peer],
            theirs=speeds[peer],
            values=[speeds["ours"] / speeds[peer]],
            share_of_peak=speeds["ours"] * peak_share_per_speed,
            target=target,
            note=f"{note}; {by_round(rounds['ours'], rounds[peer])}",
        )

    seconds = {name: found[0].first_steps_seconds for name, found in outcomes.items()}
    first = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return [
        speed_row(
            "default",
            "against the default Trainer",
            min(DEFAULT_SPEEDUP, tuned_ratio),
            f"ours is {labels['ours']}; the tuned Trainer is {tuned_ratio:.2f}x the default one",
        ),
        speed_row(
            best,
            "against the best tuned peer",
            1.0,
            f"first {case.warm} steps, compilation included, in the first round: {first} s",
        ),
    ]


def undisturbed(outcomes: Sequence[Outcome]) -> float:
    """Tokens per second of the fastest quarter of all rounds' steps.

    Rented processors slow down for minutes at a time, by a third and more, longer than a round: the
    medians of rounds then tell who was lucky.
    """
    steps = sorted(seconds for outcome in outcomes for seconds in outcome.step_seconds)
    fastest = steps[: max(1, len(steps) // 4)]
    return outcomes[0].tokens_per_step / statistics.fmean(fastest)


def by_round(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of every round's whole speed, to be read beside that of the fastest steps."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"whole rounds {listed}, median {statistics.median(ratios):.2f}"


def loss_row(case: Case, losses: dict[str, list[float]], labels: dict[str, str]) -> Row:
    """Ours against the peer whose mean held-out loss is farthest from ours."""
    means = {name: statistics.fmean(found) for name, found in losses.items()}
    peers = [name for name in means if name != "ours"]
    farthest = max(peers, key=lambda name: abs(means[name] - means["ours"]))
    listed = ", ".join(f"{name} {means[name]:.4f}" for name in means)
    apart = max(means[n] for n in peers) - min(means[n] for n in peers)
    seeds = len(losses["ours"])
    return Row(
        case=f"{case.name}: loss after {case.loss_steps} steps, mean of {seeds} seeds",
        unit="nats, held out",
        ours=means["ours"],
        peer=f"farthest of all: {labels[farthest]}",
        theirs=means[farthest],
        comparison="difference",
        values=[means["ours"] - means[farthest]],
        target=LOSS_TOLERANCE,
        note=f"{listed}; the peers lie {apart:.4f} apart",
    )


def make_job(case: Case, folder: Path, steps: int, seed: int = 0, *, compiling: bool) -> Job:
    """Fresh weights in `folder`, and the text of Python's help topics cut into rows.

    The rows held out are the same for every seed; weights and the order of the others are not.
    """
    words = tokenizer.train(_texts(), case.vocabulary)
    model = Decoder(
        TransformerConfig(
            model_type="qwen3",
            query_key_norm=True,
            vocab_size=words.vocab_size,
            hidden_size=case.width,
            intermediate_size=case.feed_forward,
            num_hidden_layers=case.layers,
            num_attention_heads=case.heads,
            num_key_value_heads=case.key_value_heads,
            head_dim=case.width // case.heads,
            max_position_embeddings=case.row_length,
            tie_word_embeddings=True,
            eos_token_id=words.eos_token_id,
        )
    )
    model.initialize(seed)
    models.save(model, folder)
    stream: list[int] = []
    for ids in words.encode_batch(_texts()):
        stream += [*ids, words.eos_token_id]
    rows = _cut(stream, case.row_length)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    held_out, training = rows[order[:64]], rows[order[64:]]
    training = training[
        torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
    ]
    needed = steps * case.rows
    repeated = training.repeat(-(-needed // len(training)), 1)[:needed]
    batches = repeated.view(steps, case.rows, case.row_length).contiguous()
    return Job(folder, batches, held_out, 1e-3, case.warm, compiling)


def _texts() -> list[str]:
    # Part of every Python: the benchmark needs no download.
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def _cut(stream: list[int], length: int) -> Tensor:
    whole = len(stream) // length * length
    return torch.tensor(stream[:whole], dtype=torch.int64).view(-1, length)


def _compiling(quick: bool) -> bool:
    missing = "quick" if quick else device.compiler_works()
    if missing and not quick:
        print(f"all contenders run eager: {missing}")
    return missing is None


def _cases(quick: bool, check: bool) -> list[Case]:
    if quick:
        return [TOY]
    return [QUICKSTART] if check else [QUICKSTART, LARGER]


if __name__ == "__main__":
    raise SystemExit(main())

"""Speed of our models against transformers: the same weights, the same logits, five shapes.

    python benchmarks/models_vs_transformers.py            every case, about 15 minutes on two cores
    python benchmarks/models_vs_transformers.py --check    the same; PASS or FAIL
    python benchmarks/models_vs_transformers.py --quick    toys, to see that it runs; under a minute

GPT-2, LLaMA, BERT, T5 and Mixtral, sized for a CPU; forward, and forward with backward; eager and
compiled; fp32 and bf16 weights. transformers runs at its best setting: of its attention (and
expert) implementations the one that is fastest eager here. Both are compiled as a whole; training
compiles ours block by block, which costs a few percent and half a minute less at the start.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from common import Report, Row, alternate
from torch import Tensor, nn

from lmwright import models
from lmwright.core import device
from lmwright.models.layers.experts import Experts

DENSE_TARGET, DENSE_WORST, EXPERTS_TARGET, PRODUCTS_TARGET = 1.0, 0.95, 1.2, 0.75
REPEATS = 3
"""Calls in a round; the fastest counts, since other work on the machine only ever slows one."""


@dataclass(frozen=True)
class Size:
    """Of all models alike."""

    width: int = 512
    layers: int = 4
    heads: int = 8
    vocabulary: int = 4_096
    rows: int = 4
    length: int = 128


FULL = Size()
TOY = Size(width=64, layers=1, heads=2, vocabulary=300, rows=2, length=16)


def configs(size: Size) -> dict[str, tuple[type[Any], Any]]:
    """Class and config of transformers for each shape."""
    width, shape = size.width, {"vocab_size": size.vocabulary}
    common = shape | {
        "hidden_size": width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
    }
    grouped = {"num_key_value_heads": size.heads // 2, "head_dim": width // size.heads}
    t = transformers
    return {
        "GPT-2": (
            t.GPT2LMHeadModel,
            t.GPT2Config(
                **shape,
                n_embd=width,
                n_layer=size.layers,
                n_head=size.heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            ),
        ),
        "LLaMA": (
            t.LlamaForCausalLM,
            t.LlamaConfig(**common, **grouped, intermediate_size=width * 11 // 4),
        ),
        "BERT": (
            t.BertForMaskedLM,
            t.BertConfig(
                **common,
                intermediate_size=4 * width,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
        ),
        "T5": (
            t.T5ForConditionalGeneration,
            t.T5Config(
                **shape,
                d_model=width,
                d_kv=width // size.heads,
                d_ff=4 * width,
                num_layers=size.layers // 2 or 1,
                num_heads=size.heads,
                dropout_rate=0.0,
                feed_forward_proj="relu",
            ),
        ),
        "Mixtral": (
            t.MixtralForCausalLM,
            t.MixtralConfig(
                **common,
                **grouped,
                intermediate_size=width * 7 // 4,
                num_local_experts=8,
                num_experts_per_tok=2,
                router_jitter_noise=0.0,
            ),
        ),
    }


@dataclass
class Contender:
    """A model, how it is called, and what to hand to it."""

    label: str
    model: nn.Module
    inputs: Mapping[str, Tensor]
    training: bool

    def logits(self) -> Tensor:
        """Logits of the inputs."""
        logits: Tensor = self.model(**self.inputs).logits
        return logits

    def step(self) -> float:
        """Seconds of the fastest of a few calls."""
        return min(self._once() for _ in range(REPEATS))

    def _once(self) -> float:
        started = time.perf_counter()
        if self.training:
            logits = self.logits()
            targets = self.inputs.get("decoder_input_ids", self.inputs["input_ids"])
            F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
        else:
            with torch.no_grad():
                self.logits()
        seconds = time.perf_counter() - started
        self.model.zero_grad(set_to_none=True)
        return seconds


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="toy models, under a minute")
    parser.add_argument("--check", action="store_true", help="PASS or FAIL, under 20 minutes")
    parser.add_argument("--rounds", type=int, help="alternating rounds (default 5; quick 2)")
    parser.add_argument("--only", help="one shape, such as T5")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    torch.set_num_threads(device.physical_cores())
    transformers.logging.set_verbosity_error()
    report = Report(
        "models_vs_transformers", {"rounds": rounds, "threads": torch.get_num_threads()}
    )
    size = TOY if arguments.quick else FULL
    for name in configs(size):
        if arguments.only in (None, name):
            for dtype in (torch.float32, torch.bfloat16):
                report.rows += compare(name, size, dtype, rounds, compiling=not arguments.quick)
    report.rows += summary(report.rows)
    report.show()
    print(f"written to {report.write(quick=arguments.quick, part=arguments.only or '')}")
    return report.verdict() if arguments.check else 0


def compare(
    name: str, size: Size, dtype: torch.dtype, rounds: int, *, compiling: bool
) -> list[Row]:
    """All cases of one shape in one precision."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model_class, config = configs(size)[name]
        torch.manual_seed(0)
        model_class(config).to(dtype).save_pretrained(folder)
        for training in (False, True):
            for compiled in (False, True) if compiling else (False,):
                peer = best_setting(model_class, folder, size, training, compiled)
                case = (
                    f"{name}, {'forward+backward' if training else 'forward'}, "
                    f"{'compiled' if compiled else 'eager'}, {_short(dtype)}"
                )
                print(case)
                ours = Contender("ours", models.load(folder), inputs(name, size), training)
                theirs = Contender(
                    peer.label, opened(model_class, folder, peer.label), ours.inputs, training
                )
                rows.append(row(case, ours, theirs, rounds, compiled))
        if name == "Mixtral":
            rows += [
                products_row(models.load(folder), size, dtype, t, rounds) for t in (False, True)
            ]
    return rows


def best_setting(
    model_class: type[Any], folder: str, size: Size, training: bool, compiled: bool
) -> Contender:
    """transformers with the implementations that are fastest here, tried eager."""
    name = next(n for n, (c, _) in configs(size).items() if c is model_class)
    tries = []
    for label in settings(name, compiled):
        contender = Contender(
            label, opened(model_class, folder, label), inputs(name, size), training
        )
        contender.step()  # the first call allocates
        tries.append((contender.step(), contender))
    return min(tries, key=lambda pair: pair[0])[1]


def settings(name: str, compiled: bool) -> Iterator[str]:
    """The implementations that transformers offers: attention, and experts where there are any.

    Not `batched_mm`: it copies an expert's weights for every token, 6 GB here. Nor `eager` experts
    compiled: they are compiled again for every number of tokens, until 24 GB do not hold them.
    """
    for attention in ("sdpa", "eager"):
        if name != "Mixtral":
            yield attention
            continue
        for experts in ("grouped_mm",) if compiled else ("eager", "grouped_mm"):
            yield f"{attention} {experts}"


def opened(model_class: type[Any], folder: str, label: str) -> nn.Module:
    """transformers' model with the implementations that the label names."""
    attention, *experts = label.split()
    chosen = {"attn_implementation": attention}
    if experts:
        chosen["experts_implementation"] = experts[0]
    transformers.logging.disable_progress_bar()
    model: nn.Module = model_class.from_pretrained(folder, dtype="auto", **chosen)
    return model.eval()


def row(case: str, ours: Contender, theirs: Contender, rounds: int, compiled: bool) -> Row:
    """Ours beside theirs, after checking that both say the same."""
    with torch.no_grad():
        expected, found = theirs.logits().float(), ours.logits().float()
    # Two million values: in bf16 the farthest of them says little, the mean square all.
    apart = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    # In bf16 a token whose experts are nearly even goes to another one after any rounding.
    rounded = 1e-1 if "Mixtral" in case else 2e-2
    allowed = 1e-5 if theirs.model.dtype == torch.float32 else rounded
    assert apart <= allowed, f"{case}: logits differ by {apart:.2g}"
    if compiled:
        torch.compiler.reset()
        ours.model.compile(dynamic=False)
        theirs.model.compile(dynamic=False)
    for contender in (ours, theirs):
        contender.step()  # compiles, allocates
    times = alternate({"ours": ours.step, "theirs": theirs.step}, rounds, say=lambda line: None)
    if compiled:
        torch.compiler.reset()
    return Row(
        case=case,
        unit="ms",
        ours=1e3 * statistics.median(times["ours"]),
        peer=f"transformers {transformers.__version__} ({theirs.label})",
        theirs=1e3 * statistics.median(times["theirs"]),
        values=[t / o for o, t in zip(times["ours"], times["theirs"], strict=True)],
        target=DENSE_WORST if "Mixtral" not in case else EXPERTS_TARGET,
    )


def products_row(
    model: nn.Module, size: Size, dtype: torch.dtype, training: bool, rounds: int
) -> Row:
    """One layer of experts beside its matrix products alone, on the same even shares of tokens."""
    layer = next(module for module in model.modules() if isinstance(module, Experts))
    tokens = size.rows * size.length
    x = torch.randn(size.rows, size.length, size.width, dtype=dtype, requires_grad=training)
    gate, up, down = (
        part.detach().requires_grad_(training)
        for part in (layer.gate_proj, layer.up_proj, layer.down_proj)
        if part is not None
    )
    share = torch.randn(len(up), 2 * tokens // len(up), size.width, dtype=dtype)
    share.requires_grad_(training)
    ones = torch.ones(len(up), 2 * tokens // len(up), up.shape[1], dtype=dtype)

    def products() -> Tensor:
        inner = torch.bmm(share, gate.mT) * ones + torch.bmm(share, up.mT)
        return torch.bmm(inner, down.mT)

    def timed(call: Callable[[], Tensor], owners: Sequence[Tensor]) -> float:
        best = float("inf")
        for _ in range(REPEATS):
            started = time.perf_counter()
            with torch.set_grad_enabled(training):
                output = call()
            if training:
                output.backward(torch.ones_like(output))
            best = min(best, time.perf_counter() - started)
            for owner in owners:
                owner.grad = None
        return best

    parameters = [x, *layer.parameters()]
    times = alternate(
        {
            "ours": lambda: timed(lambda: layer(x), parameters),
            "products": lambda: timed(products, [share, gate, up, down]),
        },
        rounds + 1,
        say=lambda line: None,
    )
    ours, alone = times["ours"][1:], times["products"][1:]  # the first round allocates
    return Row(
        case=f"experts, {'forward+backward' if training else 'forward'}, {_short(dtype)}",
        unit="ms",
        ours=1e3 * statistics.median(ours),
        peer="its expert matrix products alone",
        theirs=1e3 * statistics.median(alone),
        values=[a / o for o, a in zip(ours, alone, strict=True)],
        target=PRODUCTS_TARGET,
    )


def inputs(name: str, size: Size) -> dict[str, Tensor]:
    """Random tokens for both."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randint(3, size.vocabulary, (size.rows, size.length), generator=generator)

    return {"input_ids": draw()} | ({"decoder_input_ids": draw()} if name == "T5" else {})


def summary(rows: Sequence[Row]) -> list[Row]:
    """The geometric mean over the dense shapes."""
    dense = [
        row.value
        for row in rows
        if row.value and row.peer.startswith("transformers") and "Mixtral" not in row.case
    ]
    if not dense:
        return []
    mean = statistics.geometric_mean(dense)
    return [
        Row(
            case="dense shapes, geometric mean",
            unit="",
            ours=None,
            peer=f"transformers {transformers.__version__}",
            values=[mean],
            target=DENSE_TARGET,
        )
    ]


def _short(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


if __name__ == "__main__":
    raise SystemExit(main())

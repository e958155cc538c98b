"""What a model is and costs, told from its config: parts, operations, memory, a picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.models import accounting
from lmwright.models.classic_config import MODEL_TYPES
from lmwright.models.config import TransformerConfig
from lmwright.models.locate import find_model

# Bytes that a weight takes in memory, scales of a group of 32 or a row included where they are.
WEIGHT_BYTES: Mapping[str, float] = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "int8": 1.0 + 2 / 128,
    "int4": 0.5 + 2 / 32,
}
_NORMS = {"rms_norm": "RMSNorm", "layer_norm": "LayerNorm"}
_SOURCES = {"learned": "learned", "sinusoidal": "sinusoidal"}


@dataclass(frozen=True)
class Inspection:
    """The numbers of `lmwright inspect`; bytes and operations are whole numbers."""

    family: str
    architecture: str
    task: str
    parameters: dict[str, int]
    active_parameters: int
    context: int
    """Tokens that a token attends to, in the figures below."""
    training_flops_per_token: float
    forward_flops_per_token: float
    """Of one token in a row of `context`, or decoded behind as many."""
    kv_bytes_per_token: dict[str, int]
    training_bytes: dict[str, int]
    """One row of `context` tokens with AdamW, by precision of the activations."""
    serving_bytes: dict[str, int]
    """Weights, and one sequence of `context` tokens, by precision of the weights."""
    picture: str

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read_config(name: str) -> TransformerConfig:
    """The config of a run, a model folder, a hub id, or of a config.json alone.

    Raises:
        LmwrightError: if there is none, its family is unknown, or it is no transformer.
    """
    from lmwright.models.exchange import config_from, read_config_json

    path = Path(name)
    if path.is_file() and path.suffix == ".json":
        values = read_json(path)
        if not isinstance(values, dict):
            raise LmwrightError(f"{path} is not a JSON object")
        folder = path.parent
    else:
        folder = find_model(name, weights=False)  # a config says all that is asked
        values = read_config_json(folder)
    if values.get("model_type") in MODEL_TYPES:
        raise LmwrightError(
            f"{name} is a {values['model_type']}; only transformers are drawn and counted",
            hint=f"{folder / 'config.json'} has its whole shape",
        )
    return config_from(values, folder)


def inspect(config: TransformerConfig, context: int | None = None) -> Inspection:
    """Count and draw.

    Args:
        config: of any transformer.
        context: tokens of a sequence; None: the model's longest, but at most 4,096.
    """
    context = context or min(config.max_position_embeddings, 4_096)
    flops = {
        training: accounting.flops_per_token(config, context, training)
        for training in (False, True)
    }
    cached = accounting.kv_bytes_per_token(config)
    return Inspection(
        family=config.model_type,
        architecture=config.architecture,
        task=config.task,
        parameters=accounting.parameters(config),
        active_parameters=accounting.active_parameters(config),
        context=context,
        training_flops_per_token=flops[True],
        forward_flops_per_token=flops[False],
        kv_bytes_per_token={"float32": 2 * cached, "bfloat16": cached, "int8": cached // 2},
        training_bytes={
            precision: accounting.training_memory_bytes(
                config, 1, context, precision, "adamw", logit_rows=1_024
            )
            for precision in ("float32", "bfloat16")
        },
        serving_bytes={
            name: accounting.serving_memory_bytes(
                config, size, context, 4 if name == "float32" else 2
            )
            for name, size in WEIGHT_BYTES.items()
        },
        picture=picture(config),
    )


def show(found: Inspection) -> None:
    """Print an inspection for a person."""
    console = Console()
    idle = found.parameters["total"] - found.active_parameters
    active = f", {found.active_parameters:,} of them for a token" if idle else ""
    task = found.task.replace("_", " ")
    console.print(
        f"{found.family}, {found.architecture.replace('_', '-')} for {task}: "
        f"{found.parameters['total']:,} parameters{active}\n",
        highlight=False,
    )
    # Not through rich: it would wrap a picture that is wider than the window.
    print(found.picture, end="\n\n")
    parts = Table("part", "parameters", "share", box=None)
    for name, count in found.parameters.items():
        if count and name != "total":
            share = count / found.parameters["total"]
            parts.add_row(name.replace("_", " "), f"{count:,}", f"{share:.1%}")
    costs = Table(f"at {found.context:,} tokens of context", "", box=None)
    costs.add_row("operations, one token forward", _flops(found.forward_flops_per_token))
    costs.add_row("operations, one token trained", _flops(found.training_flops_per_token))
    for name, size in found.kv_bytes_per_token.items():
        if size:
            costs.add_row(f"keys and values of a token, {name}", f"{size:,} bytes")
    for name, size in found.training_bytes.items():
        costs.add_row(f"memory to train, {name}, AdamW, one row", _bytes(size))
    for name, size in found.serving_bytes.items():
        costs.add_row(f"memory to serve, {name} weights, one sequence", _bytes(size))
    console.print(parts, "", costs, highlight=False)


def _flops(count: float) -> str:
    for unit, size in (("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count / 1e6:,.2f} MFLOP"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def picture(config: TransformerConfig) -> str:
    """The architecture as text, read from the bottom up as papers draw it."""
    c = config
    if c.architecture != "encoder_decoder":
        top = [_output(c)] if _output(c) else []
        lines = [*top, *_stack(c, c.num_hidden_layers, cross=False)]
        return _joined([*lines, _embedding(c)])
    decoder = _joined([_output(c), *_stack(c, c.decoder_layers, True), _embedding(c)])
    encoder = _joined([*_stack(c, c.num_hidden_layers, False), _embedding(c)])
    return f"decoder\n\n{decoder}\n\nencoder (read by the decoder's cross-attention)\n\n{encoder}"


def _stack(c: TransformerConfig, layers: int, cross: bool) -> list[str]:
    """The final norm and the blocks, alike ones in one box, from the top."""
    boxes: list[str] = []
    described = [tuple(_block(c, i, cross)) for i in range(layers)]
    first = 0
    for lines, same in _runs(described):
        boxes.insert(0, _box([line for block in lines for line in block], same))
        first += same
    return ([_NORMS[c.norm]] if c.final_norm else []) + boxes


def _runs(described: list[tuple[str, ...]]) -> list[tuple[list[tuple[str, ...]], int]]:
    """Blocks that repeat, a pattern of up to eight of them at a time: (the pattern, how often)."""
    runs: list[tuple[list[tuple[str, ...]], int]] = []
    at = 0
    while at < len(described):
        best = (1, 1)
        for period in range(1, 9):
            pattern = described[at : at + period]
            times = 1
            while described[at + times * period : at + (times + 1) * period] == pattern:
                times += 1
            # One kind of block in a row is told better as itself than as a longer pattern.
            if (times > 1 or period == 1) and period * times > best[0] * best[1]:
                best = (period, times)
        period, times = best
        runs.append((described[at : at + period], times))
        at += period * times
    return runs


def _block(c: TransformerConfig, layer: int, cross: bool) -> list[str]:
    norm = _NORMS[c.norm]
    before = c.norm_placement in ("pre", "both")
    after = {"pre": "", "post": f", then {norm}", "both": f" → {norm}"}[c.norm_placement]

    def line(part: str, normed: bool = True) -> str:
        return f"+ ← {f'{norm} → ' if before and normed else ''}{part}{after}"

    parts = [line(_feed_forward(c, layer))]
    if cross:
        parts.append(line("cross-attention, " + _heads(c)))
    parts.append(line(_attention(c, layer), layer > 0 or c.first_norm))
    if c.parallel_residual:
        return ["both from the same stream:", *parts]
    return parts


def _heads(c: TransformerConfig) -> str:
    shared = (
        ""
        if c.num_key_value_heads == c.num_attention_heads
        else (f" sharing {c.num_key_value_heads} of keys and values")
    )
    return f"{c.num_attention_heads} heads of {c.head_dim}{shared}"


def _attention(c: TransformerConfig, layer: int) -> str:
    window = c.window(layer)
    notes = [_heads(c)]
    if c.positions == "rotary":
        scaled = f", {c.rope_scaling.kind} x{c.rope_scaling.factor:g}" if c.rope_scaling else ""
        share = f" of {c.rotary_dim}" if c.rotary_dim else ""
        notes.append(f"rotary{share} (base {c.rope_theta:,.0f}{scaled})")
    elif c.positions == "alibi":
        notes.append("ALiBi")
    elif c.positions == "relative":
        notes.append(f"relative bias in {c.relative_buckets} buckets")
    if c.query_key_norm:
        notes.append("normalised q and k")
    if c.attention_soft_cap:
        notes.append(f"scores capped at {c.attention_soft_cap:g}")
    seen = "attention" if window is None else f"attention over {window:,}"
    return f"{seen}, {', '.join(notes)}"


def _feed_forward(c: TransformerConfig, layer: int) -> str:
    names = {"silu": "SwiGLU", "relu": "ReGLU"}
    gated = "GeGLU" if "gelu" in c.activation else f"gated {c.activation}"
    kind = names.get(c.activation, gated) if c.gated else c.activation
    if not c.has_experts(layer):
        return f"{kind} feed-forward of {c.intermediate_size:,}"
    assert c.experts is not None
    e = c.experts
    shared = (
        f", one of {e.shared_intermediate_size:,} for all" if (e.shared_intermediate_size) else ""
    )
    return (
        f"{e.num_experts_per_tok} of {e.num_experts} experts, {kind} of "
        f"{e.intermediate_size:,}{shared}"
    )


def _output(c: TransformerConfig) -> str:
    tied = " (the embedding)" if c.tie_word_embeddings else ""
    if c.head is None:
        if c.task == "backbone":
            return ""
        return f"{c.vocab_size:,} logits ← {c.hidden_size:,}{tied}"
    head = c.head
    count = {"masked_lm": c.vocab_size, "span_qa": 2}.get(head.task, head.num_labels)
    if head.task == "embedding":
        return f"vector of {c.hidden_size:,} ({head.pooling} pooling)"
    return f"{count:,} logits ({head.task.replace('_', ' ')})"


def _embedding(c: TransformerConfig) -> str:
    extra = []
    if c.positions in ("learned", "sinusoidal"):
        extra.append(f"{_SOURCES[c.positions]} positions")
    if c.token_type_vocab_size:
        extra.append(f"{c.token_type_vocab_size} token types")
    if c.embedding_norm:
        extra.append(_NORMS[c.norm])
    return " + ".join([f"embedding {c.vocab_size:,} x {c.hidden_size:,}", *extra])


def _box(lines: list[str], times: int) -> str:
    width = max(len(line) for line in lines)
    label = f" x {times} " if times > 1 else ""
    top = f"┌{'─' * (width + 2 - len(label))}{label}┐"
    return "\n".join([top, *(f"│ {line:<{width}} │" for line in lines), f"└{'─' * (width + 2)}┘"])


def _joined(parts: list[str]) -> str:
    """The parts under one another, centred, with arrows up between them."""
    width = max(len(line) for part in parts for line in part.splitlines())
    centred = [
        "\n".join(line.center(width).rstrip() for line in part.splitlines()) for part in parts
    ]
    return f"\n{'↑'.center(width).rstrip()}\n".join(centred)

"""What a model costs, from its config alone: parameters, floating-point operations, bytes.

Operations are those of matrix products, a multiplication and an addition counted as two, as in
Kaplan et al. 2020, section 2.1; norms, rotations and softmax are left out (under 2 %).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmwright.models.config import TransformerConfig

Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["adamw", "adam", "muon", "sgd", "rmsprop", "adafactor", "lion"]

# Values that one optimiser step keeps per parameter, in fp32.
# Adafactor's rows and columns are next to nothing; SGD and RMSProp are counted with momentum.
OPTIMIZER_STATES: Mapping[str, int] = {
    "adamw": 2,
    "adam": 2,
    "muon": 1,
    "sgd": 1,
    "rmsprop": 2,
    "adafactor": 0,
    "lion": 1,
}
BACKWARD = 2.0  # gradients by inputs and by weights: each as many products as the forward pass


def parameters(config: TransformerConfig | Mapping[str, Any]) -> dict[str, int]:
    """Number of parameters by part, and `total`; a tied output projection counts once.

    Args:
        config: a config, or the content of a config.json.
    """
    c = _config(config)
    parts = {"embedding": c.vocab_size * c.hidden_size, "positions": 0, "attention": 0}
    parts |= {"feed_forward": 0, "experts": 0, "norms": 0}
    for stack in _stacks(c):
        parts["positions"] += _position_parameters(c)
        parts["norms"] += _norm_size(c) * (c.final_norm + c.embedding_norm)
        for layer in range(stack.layers):
            block = _block_parameters(c, layer, stack.cross)
            parts |= {name: parts[name] + count for name, count in block.items()}
    parts["output"] = _output_parameters(c)
    return parts | {"total": sum(parts.values())}


def active_parameters(config: TransformerConfig | Mapping[str, Any]) -> int:
    """Parameters that take part in one token: all but the experts that do not see it."""
    c = _config(config)
    if c.experts is None:
        return parameters(c)["total"]
    idle = c.experts.num_experts - c.experts.num_experts_per_tok
    each = _projections(c) * c.hidden_size * c.experts.intermediate_size
    return parameters(c)["total"] - len(c.experts.layers) * idle * each


def matrix_parameters(config: TransformerConfig | Mapping[str, Any]) -> int:
    """Parameters that multiply a token: all matrices but look-ups and experts that do not see it.

    Of an encoder-decoder: those of a token that is written (the decoder's, and the output).
    """
    c = _config(config)
    stack = _stacks(c)[-1]
    return sum(_block_matrices(c, i, stack.cross) for i in range(stack.layers)) + _head_matrices(c)


def flops_per_token(
    config: TransformerConfig | Mapping[str, Any], context: int, training: bool
) -> float:
    """Operations of matrix products for one token, output projection included.

    Of an encoder-decoder: the mean of a token that is read and one that is written.

    Args:
        config: a config, or the content of a config.json.
        context: keys that the token attends to, counted as the kernels compute them: for a row of
            T tokens this is T, masked or not; when decoding, the length so far.
        training: count the backward pass too (three times the forward pass in all).
    """
    c = _config(config)
    stacks = _stacks(c)
    forward = 2.0 * _head_matrices(c)
    for stack in stacks:
        for layer in range(stack.layers):
            seen = min(context, c.window(layer) or context) + (context if stack.cross else 0)
            scores = 2 * seen * c.num_attention_heads * c.head_dim  # q k^T and weights v
            forward += 2.0 * (_block_matrices(c, layer, stack.cross) + scores)
    forward /= len(stacks)
    return forward * (1.0 + BACKWARD) if training else forward


def kv_bytes_per_token(
    config: TransformerConfig | Mapping[str, Any], bytes_per_value: float = 2
) -> int:
    """Bytes of keys and values that one cached token holds over all layers; an encoder keeps none.

    Of an encoder-decoder: of a token that is written; a token that is read holds as many for the
    decoder's cross-attention.
    """
    c = _config(config)
    if c.architecture == "encoder":
        return 0
    values = 2 * _stacks(c)[-1].layers * c.num_key_value_heads * c.head_dim
    return round(values * bytes_per_value)


def serving_memory_bytes(
    config: TransformerConfig | Mapping[str, Any],
    bytes_per_weight: float,
    cached_tokens: int = 0,
    bytes_per_value: float = 2,
) -> int:
    """Bytes of weights and of the keys and values of `cached_tokens` tokens in all sequences."""
    c = _config(config)
    weights = parameters(c)["total"] * bytes_per_weight
    return round(weights) + cached_tokens * kv_bytes_per_token(c, bytes_per_value)


@dataclass(frozen=True)
class _StackShape:
    layers: int
    cross: bool


def _stacks(c: TransformerConfig) -> tuple[_StackShape, ...]:
    encoder = _StackShape(c.num_hidden_layers, cross=False)
    if c.architecture != "encoder_decoder":
        return (encoder,)
    return (encoder, _StackShape(c.decoder_layers, cross=True))


def _projections(c: TransformerConfig) -> int:
    """Matrices of a feed-forward layer."""
    return 3 if c.gated else 2


def _norm_size(c: TransformerConfig, size: int | None = None) -> int:
    biased = c.norm == "layer_norm" and c.norm_bias
    return (size or c.hidden_size) * (2 if biased else 1)


def _attention_matrices(c: TransformerConfig) -> int:
    queries, keys = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    return c.hidden_size * (queries + 2 * keys) + queries * c.hidden_size


def _block_matrices(c: TransformerConfig, layer: int, cross: bool) -> int:
    """Parameters of one block that multiply a token."""
    attention = _attention_matrices(c) * (2 if cross else 1)
    per_width = _projections(c) * c.hidden_size
    if not c.has_experts(layer):
        return attention + per_width * c.intermediate_size
    assert c.experts is not None
    e = c.experts
    router = e.num_experts * c.hidden_size + (c.hidden_size if e.shared_gate else 0)
    shared = per_width * (e.shared_intermediate_size or 0)
    return attention + router + shared + per_width * e.intermediate_size * e.num_experts_per_tok


def _block_parameters(c: TransformerConfig, layer: int, cross: bool) -> dict[str, int]:
    queries, keys = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    attentions = 2 if cross else 1
    attention = _attention_matrices(c)
    attention += queries + 2 * keys if c.attention_bias else 0
    attention += c.hidden_size if c.attention_output_bias else 0
    before = c.norm_placement in ("pre", "both")
    after = c.norm_placement in ("post", "both")
    norms = (attentions + 1) * (before + after) - (before and layer == 0 and not c.first_norm)
    normalized = 2 * attentions * _norm_size(c, c.head_dim) if c.query_key_norm else 0
    counts = {
        "attention": attentions * attention,
        "norms": norms * _norm_size(c) + normalized,
    }
    inner = _projections(c) * c.hidden_size
    if not c.has_experts(layer):
        biases = (_projections(c) - 1) * c.intermediate_size + c.hidden_size
        feed_forward = inner * c.intermediate_size + (biases if c.feed_forward_bias else 0)
        return counts | {"feed_forward": feed_forward}
    assert c.experts is not None
    e = c.experts
    routed = e.num_experts * (inner * e.intermediate_size + c.hidden_size)
    shared = inner * (e.shared_intermediate_size or 0) + (c.hidden_size if e.shared_gate else 0)
    return counts | {"experts": routed + shared}


def _position_parameters(c: TransformerConfig) -> int:
    count = c.token_type_vocab_size * c.hidden_size
    if c.positions == "learned":
        count += (c.max_position_embeddings + c.position_offset) * c.hidden_size
    elif c.positions == "relative":
        count += c.relative_buckets * c.num_attention_heads
    return count


def _head_matrices(c: TransformerConfig) -> int:
    """Parameters of the head that multiply a token (a classifier's once a sequence: left out)."""
    if c.task in ("causal_lm", "sequence_to_sequence"):
        return c.vocab_size * c.hidden_size
    if c.task == "masked_lm":
        return c.vocab_size * c.hidden_size + c.hidden_size**2
    if c.task in ("token_classification", "span_qa"):
        assert c.head is not None
        return c.hidden_size * (2 if c.task == "span_qa" else c.head.num_labels)
    return 0


def _output_parameters(c: TransformerConfig) -> int:
    """Parameters of whatever stands on the last hidden states."""
    tied = 0 if c.tie_word_embeddings else c.vocab_size * c.hidden_size
    bias = c.vocab_size if c.output_bias else 0
    if c.head is None:
        return tied + bias if c.task in ("causal_lm", "sequence_to_sequence") else 0
    head, width = c.head, c.hidden_size
    dense = width * width + (width if head.hidden_bias else 0)
    if head.task == "masked_lm":
        return dense + _norm_size(c) + tied + bias
    if head.task in ("embedding", "backbone"):
        return 0
    labels = 2 if head.task == "span_qa" else head.num_labels
    count = width * labels + (labels if head.bias else 0)
    count += (dense if head.hidden else 0) + (_norm_size(c) if head.norm else 0)
    return count + (labels * (labels + 2) if head.crf else 0)


def training_memory_bytes(
    config: TransformerConfig | Mapping[str, Any],
    micro_rows: int,
    row_length: int,
    precision: Precision = "float32",
    optimizer: Optimizer = "adamw",
    logit_rows: int | None = None,
) -> int:
    """Bytes of weights, gradients, optimiser state and what is kept for the backward pass.

    Weights, gradients and states are fp32 in either precision; bfloat16 halves what is kept.
    An estimate of the tensors, not of the process: Python and torch themselves take 0.3 GB more.

    Args:
        config: a config, or the content of a config.json.
        micro_rows: rows that go forward and back at once.
        row_length: tokens of a row.
        precision: of the activations.
        optimizer: by which states are counted.
        logit_rows: positions whose logits exist at once; None: all (no chunked loss).
    """
    c = _config(config)
    count = parameters(c)["total"]
    held = count * 4 * (2 + OPTIMIZER_STATES[optimizer])
    if precision == "bfloat16":
        held += count * 2  # the copy that the products read
    size = 2 if precision == "bfloat16" else 4
    tokens = micro_rows * row_length
    kept = tokens * c.num_hidden_layers * _kept_per_token(c, row_length, size)
    positions = tokens if logit_rows is None else min(tokens, logit_rows)
    logits = positions * c.vocab_size * (4 + 4)  # logits and their gradient, fp32
    return held + kept + logits


def _kept_per_token(c: TransformerConfig, row_length: int, size: int) -> int:
    """Bytes that a block keeps of one token for its backward pass."""
    queries, keys = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    values = 4 * c.hidden_size  # two norms' inputs and outputs
    values += 2 * (queries + keys) + keys  # queries and keys before and after rotation, values
    values += queries  # attention's output
    values += 4 * c.intermediate_size  # gate, its activation, up, their product
    # Scores of short rows are written out, see layers/attention.py.
    if size == 2 and row_length <= 512:
        values += 2 * c.num_attention_heads * row_length
    return values * size


def _config(config: TransformerConfig | Mapping[str, Any]) -> TransformerConfig:
    if isinstance(config, TransformerConfig):
        return config
    return TransformerConfig.from_hf(config)

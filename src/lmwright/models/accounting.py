"""What a model costs, from its config alone: parameters, floating-point operations, bytes.

Operations are those of matrix products, a multiplication and an addition counted as two, as in
Kaplan et al. 2020, section 2.1; norms, rotations and softmax are left out (under 2 %).
"""

from collections.abc import Mapping
from typing import Any, Literal

from lmwright.models.config import TransformerConfig

Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["adamw", "muon", "sgd"]

# Values that one optimiser step keeps per parameter, in fp32.
_STATES: Mapping[str, int] = {"adamw": 2, "muon": 1, "sgd": 0}
BACKWARD = 2.0  # gradients by inputs and by weights: each as many products as the forward pass


def parameters(config: TransformerConfig | Mapping[str, Any]) -> dict[str, int]:
    """Number of parameters by part, and `total`; a tied output projection counts once.

    Args:
        config: a config, or the content of a config.json.
    """
    c = _config(config)
    width, head = c.hidden_size, c.head_dim
    queries, keys = c.num_attention_heads * head, c.num_key_value_heads * head
    attention = width * (queries + 2 * keys) + queries * width
    if c.attention_bias:
        attention += queries + 2 * keys
    if c.attention_output_bias:
        attention += width
    parts = {
        "embedding": c.vocab_size * width,
        "attention": c.num_hidden_layers * attention,
        "feed_forward": c.num_hidden_layers * 3 * width * c.intermediate_size,
        "norms": c.num_hidden_layers * 2 * (width + head) + width,
        "output": 0 if c.tie_word_embeddings else c.vocab_size * width,
    }
    return parts | {"total": sum(parts.values())}


def matrix_parameters(config: TransformerConfig | Mapping[str, Any]) -> int:
    """Parameters that multiply every token: all matrices but the embedding's look-up."""
    c = _config(config)
    parts = parameters(c)
    biases = 0
    if c.attention_bias:
        heads = c.num_attention_heads + 2 * c.num_key_value_heads
        biases += c.num_hidden_layers * heads * c.head_dim
    if c.attention_output_bias:
        biases += c.num_hidden_layers * c.hidden_size
    output = c.vocab_size * c.hidden_size
    return parts["attention"] - biases + parts["feed_forward"] + output


def flops_per_token(
    config: TransformerConfig | Mapping[str, Any], context: int, training: bool
) -> float:
    """Operations of matrix products for one token, output projection included.

    Args:
        config: a config, or the content of a config.json.
        context: keys that the token attends to, counted as the kernels compute them: for a row of
            T tokens this is T, masked or not; when decoding, the length so far.
        training: count the backward pass too (three times the forward pass in all).
    """
    c = _config(config)
    attention = 0
    for layer in range(c.num_hidden_layers):
        seen = min(context, c.window(layer) or context)
        attention += 2 * 2 * seen * c.num_attention_heads * c.head_dim  # q k^T and weights v
    forward = 2.0 * matrix_parameters(c) + attention
    return forward * (1.0 + BACKWARD) if training else forward


def kv_bytes_per_token(
    config: TransformerConfig | Mapping[str, Any], bytes_per_value: float = 2
) -> int:
    """Bytes of keys and values that one cached token holds over all layers."""
    c = _config(config)
    values = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim
    return round(values * bytes_per_value)


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
    held = count * 4 * (2 + _STATES[optimizer])
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
    if size == 2:  # scores of short rows are written out, see layers/attention.py
        values += 2 * c.num_attention_heads * row_length
    return values * size


def _config(config: TransformerConfig | Mapping[str, Any]) -> TransformerConfig:
    if isinstance(config, TransformerConfig):
        return config
    return TransformerConfig.from_hf(config)

"""What LLaMA's descendants share: names of weights, keys of config.json, heads."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Head, activation, numbers, rope
from lmwright.models.families.naming import Weight

_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "tie_word_embeddings",
    "initializer_range",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)

FIELDS: dict[str, tuple[str, ...]] = {name: (name,) for name in _SAME} | {
    "activation": ("hidden_act",),
    "norm_eps": ("rms_norm_eps",),
    "rope_theta": ("rope_parameters.rope_theta", "rope_scaling.rope_theta", "rope_theta"),
}

# Shapes that everybody writes stay required.
DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 2_048,
    "activation": "silu",
    "norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}

ATTENTION = tuple(
    Weight(f"layers.{{i}}.self_attn.{name}.{{p}}", f"layers.{{i}}.self_attn.{name}.{{p}}")
    for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")
)
FEED_FORWARD = tuple(
    Weight(f"layers.{{i}}.mlp.{name}.{{p}}", f"layers.{{i}}.mlp.{name}.{{p}}")
    for name in ("gate_proj", "up_proj", "down_proj")
)
EMBEDDING = Weight("embed_tokens.{p}", "embed_tokens.{p}")
FINAL_NORM = Weight("norm.{p}", "norm.{p}")
NORMS = tuple(
    Weight(f"layers.{{i}}.{name}.{{p}}", f"layers.{{i}}.{name}.{{p}}")
    for name in ("input_layernorm", "post_attention_layernorm")
)
STACK = (EMBEDDING, FINAL_NORM, *NORMS, *ATTENTION)
WEIGHTS = (*STACK, *FEED_FORWARD)
PREFIX = "model."
IGNORED = (r"(.*\.)?rotary_emb\.inv_freq",)


def heads(
    name: str,
    *,
    model: str | None = None,
    causal_lm: str | None = None,
    sequences: str | None = None,
    output: tuple[str, ...] = ("lm_head",),
    tags: str = "score",
    tag_dropout: str = "classifier_dropout|hidden_dropout",
) -> dict[Any, Head]:
    """The heads that transformers has for a family of causal models.

    Args:
        name: how the names of its classes begin.
        model, causal_lm, sequences: names of its classes, where they are not as usual.
        output: what the output projection is called; the first is written.
        tags: what the projection of the token classification is called.
        tag_dropout: keys of its dropout, see `Head.layout`.
    """
    score = (Weight("head.project.{p}", "score.{p}"),)
    classifier = Head(
        sequences or f"{name}ForSequenceClassification",
        layout={"pooling": "last", "bias": False},
        weights=score,
    )
    return {
        "causal_lm": Head(
            causal_lm or f"{name}ForCausalLM",
            weights=tuple(Weight("lm_head.{p}", f"{called}.{{p}}") for called in output),
        ),
        "sequence_classification": classifier,
        "reward": classifier,
        "token_classification": Head(
            f"{name}ForTokenClassification",
            layout={"dropout": tag_dropout},
            weights=(Weight("head.project.{p}", f"{tags}.{{p}}"),),
        ),
        "embedding": Head(model or f"{name}Model", layout={"pooling": "last"}, prefixed=False),
        "backbone": Head(model or f"{name}Model", prefixed=False),
    }


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from others, our name of the activation, and the rotary settings."""
    values = settle_sizes(values)
    values["activation"] = activation.ours(values["activation"])
    return rope.read(values)


def settle_sizes(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from others."""
    if values.get("num_key_value_heads") is None:
        values["num_key_value_heads"] = values["num_attention_heads"]
    if values.get("head_dim") is None:
        values["head_dim"] = numbers.head_dim(values)
    return values


def one_bias(values: dict[str, Any]) -> dict[str, Any]:
    """The bias of all four projections is one key."""
    return values | {"attention_output_bias": values["attention_bias"]}


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """The rotary settings where new and old readers look for them."""
    return values | {
        "hidden_act": activation.published(config.activation),
        "rope_parameters": rope.written(config),
        "rope_theta": config.rope_theta,
    }

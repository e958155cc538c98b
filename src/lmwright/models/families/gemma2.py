"""Gemma 2 (Gemma Team 2024, section 2): norms on both sides, soft caps, every other window."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, gemma, llama_like, rope, windows
from lmwright.models.families.naming import Weight

EXTRAS = ("query_pre_attn_scalar", *rope.EXTRAS)
FIELDS = llama_like.FIELDS | {
    "activation": ("hidden_activation",),
    "attention_bias": ("attention_bias",),
    "sliding_window": ("sliding_window",),
    "layer_types": ("layer_types",),
    "final_logit_soft_cap": ("final_logit_softcapping",),
}
DEFAULTS = gemma.DEFAULTS | {
    "num_key_value_heads": 4,
    "sliding_window": 4_096,
    "layer_types": None,
    "query_pre_attn_scalar": 256,
}
# Here the norm before the feed-forward layer has its own name, and the usual one follows attention.
WEIGHTS = (
    llama_like.EMBEDDING,
    llama_like.FINAL_NORM,
    *llama_like.ATTENTION,
    *llama_like.FEED_FORWARD,
    *(
        Weight(f"layers.{{i}}.{ours}.{{p}}", f"layers.{{i}}.{published}.{{p}}")
        for ours, published in (
            ("input_layernorm", "input_layernorm"),
            ("attention_output_norm", "post_attention_layernorm"),
            ("post_attention_layernorm", "pre_feedforward_layernorm"),
            ("feed_forward_output_norm", "post_feedforward_layernorm"),
        )
    ),
)


def settle_scale(values: dict[str, Any]) -> dict[str, Any]:
    """Dot products are divided by the root of `query_pre_attn_scalar`, K or not."""
    scalar = values.pop("query_pre_attn_scalar", None)
    if scalar is not None and scalar != values["head_dim"]:
        values["attention_scale"] = scalar**-0.5
    return values


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """The scale of the dot products as Gemma says it."""
    scale = config.attention_scale
    values = llama_like.settle_written(values, config)
    values["hidden_activation"] = values.pop("hidden_act")
    # A whole number: other readers take no other.
    scalar = config.head_dim if scale is None else round(scale**-2)
    return values | {"query_pre_attn_scalar": scalar}


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    return gemma.settle_read(settle_scale(windows.by_period(values, 2)))


FAMILY = Family(
    model_type="gemma2",
    heads=llama_like.heads("Gemma2"),
    fields=FIELDS | {"attention_soft_cap": ("attn_logit_softcapping",)},
    defaults=DEFAULTS | {"attention_soft_cap": 50.0, "final_logit_soft_cap": 30.0},
    constants=gemma.CONSTANTS | {"norm_placement": "both"},
    fixed={"use_bidirectional_attention": (None, False)},
    weights=WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=EXTRAS,
    settle_written=settle_written,
)

"""Qwen3 (Yang et al. 2025, Qwen3 Technical Report, section 2), dense models."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, llama_like

WINDOW_EXTRAS = ("use_sliding_window", "max_window_layers")


def settle_windows(values: dict[str, Any]) -> dict[str, Any]:
    """Windows hold only where `use_sliding_window` says so; older files name layers by number."""
    types = values.get("layer_types")
    used = values.pop("use_sliding_window", types is not None)
    first = values.pop("max_window_layers", 28)
    if not used:
        values["sliding_window"] = None
    if types is None:
        sliding = values.get("sliding_window") is not None
        values["layer_types"] = [
            "sliding_attention" if sliding and index >= first else "full_attention"
            for index in range(values["num_hidden_layers"])
        ]
    return values


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Windows and rotary settings; the bias of all four projections is one key."""
    values |= {"attention_output_bias": values["attention_bias"]}
    return llama_like.settle_read(settle_windows(values))


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """Add what older readers look for in other places."""
    return llama_like.settle_written(values, config) | {
        "use_sliding_window": "sliding_attention" in config.layer_types,
        "max_window_layers": config.layer_types.count("full_attention"),
    }


FAMILY = Family(
    model_type="qwen3",
    heads=llama_like.heads("Qwen3"),
    fields=llama_like.FIELDS
    | {
        "attention_bias": ("attention_bias",),
        "sliding_window": ("sliding_window",),
        "layer_types": ("layer_types",),
    },
    defaults=llama_like.DEFAULTS
    | {
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "attention_bias": False,
        "sliding_window": 4_096,
        "layer_types": None,
    },
    constants={"query_key_norm": True},
    fixed={"hidden_act": "silu"},
    weights=llama_like.WEIGHTS,
    prefix="model.",
    derived=llama_like.ROPE_DERIVED | {"attention_output_bias"},
    settle_read=settle_read,
    extras=(*WINDOW_EXTRAS, *llama_like.ROPE_EXTRAS),
    settle_written=settle_written,
)

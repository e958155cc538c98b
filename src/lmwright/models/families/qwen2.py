"""Qwen2 and 2.5 (Yang et al. 2024, Qwen2 Technical Report, section 2.2), dense models."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, llama_like, rope, windows


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Windows and rotary settings."""
    return llama_like.settle_read(windows.qwen(values))


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """Add what older readers look for in other places."""
    return llama_like.settle_written(values, config) | {
        "use_sliding_window": config.sliding_window is not None,
        "max_window_layers": config.layer_types.count("full_attention"),
    }


FIELDS = llama_like.FIELDS | {
    "sliding_window": ("sliding_window",),
    "layer_types": ("layer_types",),
}
DEFAULTS = llama_like.DEFAULTS | {
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "sliding_window": None,
    "layer_types": None,
    **windows.QWEN_DEFAULTS,
}
FAMILY = Family(
    model_type="qwen2",
    heads=llama_like.heads("Qwen2"),
    fields=FIELDS,
    defaults=DEFAULTS,
    constants={"attention_bias": True},
    fixed={},
    weights=llama_like.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=settle_read,
    extras=(*windows.QWEN_EXTRAS, *rope.EXTRAS),
    settle_written=settle_written,
)

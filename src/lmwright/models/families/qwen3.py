"""Qwen3 (Yang et al. 2025, Qwen3 Technical Report, section 2), dense models."""

from typing import Any

from lmwright.models.families import Family

_SAME_NAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "sliding_window",
    "layer_types",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Windows hold only where `use_sliding_window` says so; older files name layers by number."""
    used = values.pop("use_sliding_window", values["layer_types"] is not None)
    first = values.pop("max_window_layers", 28)
    if not used:
        values["sliding_window"] = None
    if values["layer_types"] is None:
        sliding = values["sliding_window"] is not None
        values["layer_types"] = [
            "sliding_attention" if sliding and index >= first else "full_attention"
            for index in range(values["num_hidden_layers"])
        ]
    return values


def _settle_written(values: dict[str, Any]) -> dict[str, Any]:
    """Add what older readers look for in other places."""
    sliding = "sliding_attention" in values["layer_types"]
    full = values["layer_types"].count("full_attention")
    return values | {
        "use_sliding_window": sliding,
        "max_window_layers": full,
        "rope_theta": values["rope_parameters"]["rope_theta"],
    }


FAMILY = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    fields={name: (name,) for name in _SAME_NAME}
    | {"rope_theta": ("rope_parameters.rope_theta", "rope_theta")},
    # The defaults of transformers' Qwen3Config; shapes that everybody writes stay required.
    defaults={
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "sliding_window": 4_096,
        "layer_types": None,
        "initializer_range": 0.02,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    },
    fixed={
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "rope_parameters.rope_type": "default",
        "rope_scaling": None,
    },
    weights=((r"^(embed_tokens|layers|norm)\.", r"model.\1."),),
    published=((r"^model\.", ""),),
    settle_read=_settle_read,
    extras=("use_sliding_window", "max_window_layers"),
    settle_written=_settle_written,
)

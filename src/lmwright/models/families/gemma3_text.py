"""Gemma 3, the text model (Gemma Team 2025, section 2): five windows to each layer without,
normalised queries and keys, rotary positions of their own where there is a window."""

from typing import Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import RopeScaling, TransformerConfig
from lmwright.models.families import Family, gemma, gemma2, llama_like, rope, windows

_FULL, _SLIDING = "rope_parameters.full_attention", "rope_parameters.sliding_attention"


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    groups, scaling = values.pop("rope_parameters", None) or {}, values.pop("rope_scaling", None)
    if rope.scaling(groups.get("sliding_attention") or {}) is not None:
        raise LmwrightError(f"config.json: {_SLIDING} is scaled; only default is supported")
    if not isinstance(scaling, RopeScaling):  # that of older files, of full attention only
        scaling = rope.scaling((groups.get("full_attention") or {}) | (scaling or {}))
    period = values.pop("sliding_window_pattern", 6)
    values = gemma2.settle_scale(windows.by_period(values, period))
    return gemma.settle_read(values) | {"rope_scaling": scaling}


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    values = gemma2.settle_written(values, config)
    local = config.rope_local_theta
    return values | {
        "rope_parameters": {
            "full_attention": values["rope_parameters"],
            "sliding_attention": {
                "rope_theta": config.rope_theta if local is None else local,
                "rope_type": "default",
            },
        },
        "rope_local_base_freq": local,
    }


FAMILY = Family(
    model_type="gemma3_text",
    heads={
        task: head
        for task, head in llama_like.heads("Gemma3Text", causal_lm="Gemma3ForCausalLM").items()
        if task != "token_classification"
    },
    fields=gemma2.FIELDS
    | {
        "rope_theta": (f"{_FULL}.rope_theta", "rope_theta"),
        "rope_local_theta": (f"{_SLIDING}.rope_theta", "rope_local_base_freq"),
    },
    defaults=gemma2.DEFAULTS
    | {
        "max_position_embeddings": 131_072,
        "final_logit_soft_cap": None,
        "rope_theta": 1_000_000.0,
        "rope_local_theta": 10_000.0,
    },
    constants=gemma.CONSTANTS | {"norm_placement": "both", "query_key_norm": True},
    fixed={"use_bidirectional_attention": (None, False), "attn_logit_softcapping": None},
    weights=gemma2.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=("sliding_window_pattern", *gemma2.EXTRAS),
    settle_written=_settle_written,
)

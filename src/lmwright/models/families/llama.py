"""LLaMA 1, 2 and 3 (Touvron et al. 2023, LLaMA, section 2.2; Dubey et al. 2024, Llama 3)."""

from typing import Any

from lmwright.models.families import Family, llama_like, rope


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    return llama_like.settle_read(llama_like.one_bias(values))


FAMILY = Family(
    model_type="llama",
    heads=llama_like.heads("Llama"),
    fields=llama_like.FIELDS
    | {"attention_bias": ("attention_bias",), "feed_forward_bias": ("mlp_bias",)},
    defaults=llama_like.DEFAULTS
    | {
        "attention_bias": False,
        "feed_forward_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    fixed={},
    weights=llama_like.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=rope.EXTRAS,
    settle_written=llama_like.settle_written,
)

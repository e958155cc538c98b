"""Qwen3 (Yang et al. 2025, Qwen3 Technical Report, section 2), dense models."""

from typing import Any

from lmwright.models.families import Family, llama_like, qwen2, rope, windows


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    return qwen2.settle_read(llama_like.one_bias(values))


FAMILY = Family(
    model_type="qwen3",
    heads=llama_like.heads("Qwen3"),
    fields=qwen2.FIELDS | {"attention_bias": ("attention_bias",)},
    defaults=qwen2.DEFAULTS | {"head_dim": 128, "attention_bias": False},
    constants={"query_key_norm": True},
    fixed={},
    weights=llama_like.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=(*windows.QWEN_EXTRAS, *rope.EXTRAS),
    settle_written=qwen2.settle_written,
)

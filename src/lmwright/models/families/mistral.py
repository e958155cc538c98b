"""Mistral (Jiang et al. 2023, Mistral 7B, section 2): LLaMA with windows on all layers."""

from typing import Any

from lmwright.models.families import Family, llama_like, rope, windows


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    return llama_like.settle_read(windows.everywhere(values))


FAMILY = Family(
    model_type="mistral",
    heads=llama_like.heads("Mistral"),
    fields=llama_like.FIELDS | {"sliding_window": ("sliding_window",)},
    defaults=llama_like.DEFAULTS
    | {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4_096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Some readers take windows layer by layer, others do not: refused rather than misread.
    fixed={"layer_types": None},
    weights=llama_like.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=rope.EXTRAS,
    settle_written=llama_like.settle_written,
)

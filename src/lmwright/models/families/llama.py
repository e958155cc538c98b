"""LLaMA 1, 2 and 3 (Touvron et al. 2023, LLaMA, section 2.2; Dubey et al. 2024, Llama 3)."""

from lmwright.models.families import Family, llama_like

FAMILY = Family(
    model_type="llama",
    heads=llama_like.heads("Llama"),
    fields=llama_like.FIELDS
    | {"attention_bias": ("attention_bias",), "feed_forward_bias": ("mlp_bias",)},
    defaults=llama_like.DEFAULTS | {"attention_bias": False, "feed_forward_bias": False},
    fixed={"hidden_act": "silu"},
    weights=llama_like.WEIGHTS,
    prefix="model.",
    ignored=(r".*\.rotary_emb\.inv_freq",),
    derived=llama_like.ROPE_DERIVED | {"attention_output_bias"},
    settle_read=lambda values: llama_like.settle_read(
        values | {"attention_output_bias": values["attention_bias"]}
    ),
    extras=llama_like.ROPE_EXTRAS,
    settle_written=llama_like.settle_written,
)

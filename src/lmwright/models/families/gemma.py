"""Gemma (Gemma Team 2024, section 2): GeGLU, one key head for all queries, embeddings scaled."""

from typing import Any

from lmwright.models.families import Family, llama_like, rope

CONSTANTS: dict[str, Any] = {"norm_plus_one": True}
DEFAULTS = llama_like.DEFAULTS | {
    "head_dim": 256,
    "max_position_embeddings": 8_192,
    "activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """What follows from other fields: biases, the embedding's scale."""
    values = llama_like.one_bias(values) | {"embedding_scale": values["hidden_size"] ** 0.5}
    return llama_like.settle_read(values)


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    if values["activation"] == "gelu":  # what early files say; tanh is what was trained
        values["activation"] = "gelu_pytorch_tanh"
    return settle_read(values)


FAMILY = Family(
    model_type="gemma",
    heads=llama_like.heads("Gemma"),
    fields=llama_like.FIELDS | {"attention_bias": ("attention_bias",)},
    defaults=DEFAULTS | {"num_key_value_heads": 16},
    constants=CONSTANTS,
    fixed={"use_bidirectional_attention": (None, False)},
    weights=llama_like.WEIGHTS,
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=rope.EXTRAS,
    settle_written=llama_like.settle_written,
)

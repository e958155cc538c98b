"""BLOOM (BigScience Workshop 2022, section 3.3): ALiBi, and a norm on the embeddings."""

from typing import Any

from lmwright.models.families import Family, fused, llama_like, numbers
from lmwright.models.families.naming import Weight


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    return values | {
        "num_key_value_heads": values["num_attention_heads"],
        "head_dim": numbers.head_dim(values),
        "intermediate_size": 4 * values["hidden_size"],
    }


_ATTENTION = "h.{i}.self_attention"
FAMILY = Family(
    model_type="bloom",
    heads=llama_like.heads(
        "Bloom", tags="classifier", tag_dropout="classifier_dropout|hidden_dropout=0.0"
    ),
    fields={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size", "n_embed"),
        "num_hidden_layers": ("n_layer", "num_hidden_layers"),
        "num_attention_heads": ("n_head", "num_attention_heads"),
        # The reference has no limit; files tell how long the training's sequences were.
        "max_position_embeddings": ("seq_length",),
        "norm_eps": ("layer_norm_epsilon",),
        "dropout": ("hidden_dropout",),
        "attention_dropout": ("attention_dropout",),
        "tie_word_embeddings": ("tie_word_embeddings",),
        "initializer_range": ("initializer_range",),
        "bos_token_id": ("bos_token_id",),
        "eos_token_id": ("eos_token_id",),
        "pad_token_id": ("pad_token_id",),
    },
    defaults={
        "max_position_embeddings": 2_048,
        "norm_eps": 1e-5,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    },
    constants={
        "norm": "layer_norm",
        "embedding_norm": True,
        "positions": "alibi",
        "position_rule": "attention_mask",
        "attention_bias": True,
        "attention_output_bias": True,
        "feed_forward_bias": True,
        "gated": False,
        "activation": "gelu_bloom",
    },
    fixed={"apply_residual_connection_post_layernorm": False},
    weights=(
        Weight("embed_tokens.{p}", "word_embeddings.{p}"),
        Weight("embed_norm.{p}", "word_embeddings_layernorm.{p}"),
        Weight("layers.{i}.input_layernorm.{p}", "h.{i}.input_layernorm.{p}"),
        fused.interleaved(f"{_ATTENTION}.query_key_value.{{p}}"),
        Weight("layers.{i}.self_attn.o_proj.{p}", f"{_ATTENTION}.dense.{{p}}"),
        Weight("layers.{i}.post_attention_layernorm.{p}", "h.{i}.post_attention_layernorm.{p}"),
        Weight("layers.{i}.mlp.up_proj.{p}", "h.{i}.mlp.dense_h_to_4h.{p}"),
        Weight("layers.{i}.mlp.down_proj.{p}", "h.{i}.mlp.dense_4h_to_h.{p}"),
        Weight("norm.{p}", "ln_f.{p}"),
    ),
    prefix="transformer.",
    settle_read=_settle_read,
)

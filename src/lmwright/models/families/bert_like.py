"""What BERT's descendants share: names of weights, keys of config.json."""

from collections.abc import Mapping
from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Head, activation, numbers
from lmwright.models.families.naming import Weight

OF_THE_BLOCKS = "of the blocks"
"""A head's activation that is the feed-forward layers' own."""
DROPOUT = "classifier_dropout|hidden_dropout_prob"

_SAME: dict[str, tuple[str, ...]] = {
    name: (name,)
    for name in (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "tie_word_embeddings",
        "initializer_range",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    )
}
FIELDS = _SAME | {
    "activation": ("hidden_act",),
    "token_type_vocab_size": ("type_vocab_size",),
    "norm_eps": ("layer_norm_eps",),
    "dropout": ("hidden_dropout_prob",),
    "attention_dropout": ("attention_probs_dropout_prob",),
}

DEFAULTS: dict[str, Any] = {
    "activation": "gelu",
    "max_position_embeddings": 512,
    "token_type_vocab_size": 2,
    "norm_eps": 1e-12,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}

CONSTANTS: dict[str, Any] = {
    "architecture": "encoder",
    "norm": "layer_norm",
    "norm_placement": "post",
    "final_norm": False,
    "embedding_norm": True,
    "positions": "learned",
    "attention_bias": True,
    "attention_output_bias": True,
    "feed_forward_bias": True,
    "gated": False,
}

WEIGHTS = (
    Weight("embed_tokens.{p}", "embeddings.word_embeddings.{p}"),
    Weight("embed_positions.{p}", "embeddings.position_embeddings.{p}"),
    Weight("embed_token_types.{p}", "embeddings.token_type_embeddings.{p}"),
    Weight("embed_norm.{p}", "embeddings.LayerNorm.{p}"),
    Weight("layers.{i}.self_attn.q_proj.{p}", "encoder.layer.{i}.attention.self.query.{p}"),
    Weight("layers.{i}.self_attn.k_proj.{p}", "encoder.layer.{i}.attention.self.key.{p}"),
    Weight("layers.{i}.self_attn.v_proj.{p}", "encoder.layer.{i}.attention.self.value.{p}"),
    Weight("layers.{i}.self_attn.o_proj.{p}", "encoder.layer.{i}.attention.output.dense.{p}"),
    Weight(
        "layers.{i}.attention_output_norm.{p}",
        "encoder.layer.{i}.attention.output.LayerNorm.{p}",
    ),
    Weight("layers.{i}.mlp.up_proj.{p}", "encoder.layer.{i}.intermediate.dense.{p}"),
    Weight("layers.{i}.mlp.down_proj.{p}", "encoder.layer.{i}.output.dense.{p}"),
    Weight("layers.{i}.feed_forward_output_norm.{p}", "encoder.layer.{i}.output.LayerNorm.{p}"),
)

# Files from TensorFlow's days call a norm's weight gamma and its bias beta.
RENAMED = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
IGNORED = (r"(.*\.)?embeddings\.position_ids",)
POOLER = (r"pooler\.dense\.\w+",)

CLASSIFIER = (Weight("head.project.{p}", "classifier.{p}"),)
SPANS = (Weight("head.project.{p}", "qa_outputs.{p}"),)


def common_heads(name: str) -> dict[Any, Head]:
    """The heads that are alike in the whole family of `name`; many files hold a pooler beside."""
    return {
        "token_classification": Head(
            f"{name}ForTokenClassification",
            layout={"dropout": DROPOUT},
            weights=CLASSIFIER,
            ignored=POOLER,
        ),
        "span_qa": Head(f"{name}ForQuestionAnswering", weights=SPANS, ignored=POOLER),
        "embedding": Head(
            f"{name}Model", layout={"pooling": "mean"}, prefixed=False, carried=POOLER
        ),
        "backbone": Head(f"{name}Model", prefixed=False, carried=POOLER),
    }


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from others, and our name of the activation."""
    values["num_key_value_heads"] = values["num_attention_heads"]
    values["head_dim"] = numbers.head_dim(values)
    values["activation"] = activation.ours(values["activation"])
    return values


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """The activation's published name."""
    return values | {"hidden_act": activation.published(config.activation)}


def settle_head(
    layout: dict[str, Any], values: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Put the blocks' activation where a head has it."""
    if layout.get("activation") == OF_THE_BLOCKS:
        layout["activation"] = fields["activation"]
    return layout

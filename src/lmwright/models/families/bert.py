"""BERT (Devlin et al. 2018, sections 3 and 4)."""

from typing import Any

from lmwright.models.families import Family, Head
from lmwright.models.families.naming import Weight

_DROPOUT = "classifier_dropout|hidden_dropout_prob"


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    values["num_key_value_heads"] = values["num_attention_heads"]
    values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    return values


_POOLER = Weight("head.dense.{p}", "pooler.dense.{p}", prefixed=True)
_CLASSIFIER = Weight("head.project.{p}", "classifier.{p}")
_POOLED = Head(
    "BertForSequenceClassification",
    layout={"pooling": "first", "hidden": True, "dropout": _DROPOUT},
    weights=(_POOLER, _CLASSIFIER),
)

FAMILY = Family(
    model_type="bert",
    heads={
        "masked_lm": Head(
            "BertForMaskedLM",
            layout={"activation": "gelu"},
            weights=(
                Weight("head.dense.{p}", "cls.predictions.transform.dense.{p}"),
                Weight("head.norm.{p}", "cls.predictions.transform.LayerNorm.{p}"),
                Weight("head.bias", "cls.predictions.bias"),
                Weight("head.decoder.weight", "cls.predictions.decoder.weight"),
            ),
            changes={"output_bias": True},
        ),
        "sequence_classification": _POOLED,
        "reward": _POOLED,
        "token_classification": Head(
            "BertForTokenClassification", layout={"dropout": _DROPOUT}, weights=(_CLASSIFIER,)
        ),
        "span_qa": Head(
            "BertForQuestionAnswering", weights=(Weight("head.project.{p}", "qa_outputs.{p}"),)
        ),
        "embedding": Head("BertModel", layout={"pooling": "mean"}, prefixed=False),
        "backbone": Head("BertModel", prefixed=False),
    },
    fields={
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
    | {
        "token_type_vocab_size": ("type_vocab_size",),
        "norm_eps": ("layer_norm_eps",),
        "dropout": ("hidden_dropout_prob",),
        "attention_dropout": ("attention_probs_dropout_prob",),
    },
    defaults={
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
    },
    constants={
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
        "activation": "gelu",
    },
    fixed={"hidden_act": "gelu", "position_embedding_type": "absolute"},
    weights=(
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
    ),
    prefix="bert.",
    ignored=(r".*embeddings\.position_ids", r"cls\.predictions\.decoder\.bias"),
    derived=frozenset({"num_key_value_heads", "head_dim"}),
    settle_read=_settle_read,
)

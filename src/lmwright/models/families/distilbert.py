"""DistilBERT (Sanh et al. 2019, section 3): BERT's blocks without token types and pooler."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, Head, activation, bert_like
from lmwright.models.families.naming import Weight


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    return values | {"activation": activation.published(config.activation)}


_POOLED: dict[str, Any] = {
    "layout": {
        "pooling": "first",
        "hidden": True,
        "activation": "relu",
        "dropout": "seq_classif_dropout=0.2",
    },
    "weights": (Weight("head.dense.{p}", "pre_classifier.{p}"), *bert_like.CLASSIFIER),
}

FAMILY = Family(
    model_type="distilbert",
    heads={
        "masked_lm": Head(
            "DistilBertForMaskedLM",
            layout={"activation": bert_like.OF_THE_BLOCKS},
            weights=(
                Weight("head.dense.{p}", "vocab_transform.{p}"),
                Weight("head.norm.{p}", "vocab_layer_norm.{p}"),
                Weight("head.bias", "vocab_projector.bias"),
                Weight("head.decoder.weight", "vocab_projector.weight"),
            ),
            changes={"output_bias": True},
        ),
        "sequence_classification": Head("DistilBertForSequenceClassification", **_POOLED),
        "reward": Head("DistilBertForSequenceClassification", **_POOLED),
        "token_classification": Head(
            "DistilBertForTokenClassification",
            layout={"dropout": "dropout"},
            weights=bert_like.CLASSIFIER,
        ),
        "span_qa": Head(
            "DistilBertForQuestionAnswering",
            layout={"dropout": "qa_dropout"},
            weights=bert_like.SPANS,
        ),
        "embedding": Head("DistilBertModel", layout={"pooling": "mean"}, prefixed=False),
        "backbone": Head("DistilBertModel", prefixed=False),
    },
    fields={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("dim", "hidden_size"),
        "intermediate_size": ("hidden_dim",),
        "num_hidden_layers": ("n_layers", "num_hidden_layers"),
        "num_attention_heads": ("n_heads", "num_attention_heads"),
        "max_position_embeddings": ("max_position_embeddings",),
        "activation": ("activation",),
        "dropout": ("dropout",),
        "attention_dropout": ("attention_dropout",),
        "tie_word_embeddings": ("tie_word_embeddings", "tie_weights_"),
        "initializer_range": ("initializer_range",),
        "bos_token_id": ("bos_token_id",),
        "eos_token_id": ("eos_token_id",),
        "pad_token_id": ("pad_token_id",),
    },
    defaults={
        name: value
        for name, value in bert_like.DEFAULTS.items()
        if name not in ("token_type_vocab_size", "norm_eps")
    },
    constants=bert_like.CONSTANTS | {"norm_eps": 1e-12},
    fixed={"sinusoidal_pos_embds": False},
    weights=(
        Weight("embed_tokens.{p}", "embeddings.word_embeddings.{p}"),
        Weight("embed_positions.{p}", "embeddings.position_embeddings.{p}"),
        Weight("embed_norm.{p}", "embeddings.LayerNorm.{p}"),
        Weight("layers.{i}.self_attn.q_proj.{p}", "transformer.layer.{i}.attention.q_lin.{p}"),
        Weight("layers.{i}.self_attn.k_proj.{p}", "transformer.layer.{i}.attention.k_lin.{p}"),
        Weight("layers.{i}.self_attn.v_proj.{p}", "transformer.layer.{i}.attention.v_lin.{p}"),
        Weight("layers.{i}.self_attn.o_proj.{p}", "transformer.layer.{i}.attention.out_lin.{p}"),
        Weight("layers.{i}.attention_output_norm.{p}", "transformer.layer.{i}.sa_layer_norm.{p}"),
        Weight("layers.{i}.mlp.up_proj.{p}", "transformer.layer.{i}.ffn.lin1.{p}"),
        Weight("layers.{i}.mlp.down_proj.{p}", "transformer.layer.{i}.ffn.lin2.{p}"),
        Weight(
            "layers.{i}.feed_forward_output_norm.{p}",
            "transformer.layer.{i}.output_layer_norm.{p}",
        ),
    ),
    prefix="distilbert.",
    ignored=bert_like.IGNORED,
    renamed=bert_like.RENAMED,
    settle_read=bert_like.settle_read,
    settle_head=bert_like.settle_head,
    settle_written=_settle_written,
)

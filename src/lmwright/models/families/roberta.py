"""RoBERTa (Liu et al. 2019, sections 3 and 4): BERT's blocks, positions counted from padding."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, Head, bert_like
from lmwright.models.families.naming import Weight


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    # Rows of the position table up to padding's own are never read by tokens.
    values["position_offset"] = values["pad_token_id"] + 1
    values["max_position_embeddings"] -= values["position_offset"]
    return bert_like.settle_read(values)


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    rows = config.max_position_embeddings + config.position_offset
    return bert_like.settle_written(values, config) | {"max_position_embeddings": rows}


_POOLED: dict[str, Any] = {
    "layout": {
        "pooling": "first",
        "hidden": True,
        "dropout": bert_like.DROPOUT,
        "hidden_dropout": True,
    },
    "weights": (
        Weight("head.dense.{p}", "classifier.dense.{p}"),
        Weight("head.project.{p}", "classifier.out_proj.{p}"),
    ),
    "ignored": bert_like.POOLER,
}

FAMILY = Family(
    model_type="roberta",
    heads={
        "masked_lm": Head(
            "RobertaForMaskedLM",
            layout={"activation": "gelu"},
            weights=(
                Weight("head.dense.{p}", "lm_head.dense.{p}"),
                Weight("head.norm.{p}", "lm_head.layer_norm.{p}"),
                Weight("head.bias", "lm_head.bias"),
                Weight("head.decoder.weight", "lm_head.decoder.weight"),
            ),
            changes={"output_bias": True},
            ignored=bert_like.POOLER,
            copies=(("lm_head.bias", "lm_head.decoder.bias"),),
        ),
        "sequence_classification": Head("RobertaForSequenceClassification", **_POOLED),
        "reward": Head("RobertaForSequenceClassification", **_POOLED),
        **bert_like.common_heads("Roberta"),
    },
    fields=bert_like.FIELDS,
    defaults=bert_like.DEFAULTS | {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
    constants=bert_like.CONSTANTS | {"position_rule": "non_padding"},
    fixed={"position_embedding_type": "absolute", "is_decoder": False},
    weights=bert_like.WEIGHTS,
    prefix="roberta.",
    ignored=bert_like.IGNORED,
    renamed=bert_like.RENAMED,
    settle_read=_settle_read,
    settle_written=_settle_written,
)

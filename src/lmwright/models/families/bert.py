"""BERT (Devlin et al. 2018, sections 3 and 4)."""

from typing import Any

from lmwright.models.families import Family, Head, bert_like
from lmwright.models.families.naming import Weight

_POOLED: dict[str, Any] = {
    "layout": {"pooling": "first", "hidden": True, "dropout": bert_like.DROPOUT},
    "weights": (
        Weight("head.dense.{p}", "pooler.dense.{p}", prefixed=True),
        *bert_like.CLASSIFIER,
    ),
}

FAMILY = Family(
    model_type="bert",
    heads={
        "masked_lm": Head(
            "BertForMaskedLM",
            layout={"activation": bert_like.OF_THE_BLOCKS},
            weights=(
                Weight("head.dense.{p}", "cls.predictions.transform.dense.{p}"),
                Weight("head.norm.{p}", "cls.predictions.transform.LayerNorm.{p}"),
                Weight("head.bias", "cls.predictions.bias"),
                Weight("head.decoder.weight", "cls.predictions.decoder.weight"),
            ),
            changes={"output_bias": True},
            # Models published by their pre-training also say which sentence follows which.
            ignored=(*bert_like.POOLER, r"cls\.seq_relationship\.\w+"),
            copies=(("cls.predictions.bias", "cls.predictions.decoder.bias"),),
            also=("BertForPreTraining",),
        ),
        "sequence_classification": Head("BertForSequenceClassification", **_POOLED),
        "reward": Head("BertForSequenceClassification", **_POOLED),
        **bert_like.common_heads("Bert"),
    },
    fields=bert_like.FIELDS,
    defaults=bert_like.DEFAULTS,
    constants=bert_like.CONSTANTS,
    fixed={"position_embedding_type": "absolute", "is_decoder": False},
    weights=bert_like.WEIGHTS,
    prefix="bert.",
    ignored=bert_like.IGNORED,
    renamed=bert_like.RENAMED,
    settle_read=bert_like.settle_read,
    settle_head=bert_like.settle_head,
    settle_written=bert_like.settle_written,
)

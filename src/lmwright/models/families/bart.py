"""BART (Lewis et al. 2019, section 2.1)."""

from typing import Any

from lmwright.models.families import Family, Head, bart_like
from lmwright.models.families.naming import Weight

_CLASSES: dict[str, Any] = {
    "layout": {
        "pooling": "eos",
        "hidden": True,
        "hidden_dropout": True,
        "dropout": "classifier_dropout=0.0",
        "num_labels": 3,
    },
    "weights": (
        Weight("head.dense.{p}", "classification_head.dense.{p}"),
        Weight("head.project.{p}", "classification_head.out_proj.{p}"),
    ),
    "changes": {"output_bias": False},
}

FAMILY = Family(
    model_type="bart",
    heads={
        "sequence_to_sequence": Head(
            "BartForConditionalGeneration",
            weights=(bart_like.OUTPUT_BIAS, Weight("lm_head.{p}", "lm_head.{p}")),
        ),
        "sequence_classification": Head("BartForSequenceClassification", **_CLASSES),
        "reward": Head("BartForSequenceClassification", **_CLASSES),
        "span_qa": Head(
            "BartForQuestionAnswering",
            weights=(Weight("head.project.{p}", "qa_outputs.{p}"),),
            changes={"output_bias": False},
        ),
        "backbone": Head("BartModel", prefixed=False, changes={"output_bias": False}),
    },
    fields=bart_like.FIELDS,
    defaults=bart_like.DEFAULTS
    | {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
    constants=bart_like.CONSTANTS
    | {"positions": "learned", "position_offset": 2, "embedding_norm": True},
    fixed=bart_like.FIXED,
    weights=(
        *bart_like.WEIGHTS,
        Weight("encoder.embed_positions.{p}", "encoder.embed_positions.{p}"),
        Weight("decoder.embed_positions.{p}", "decoder.embed_positions.{p}"),
        Weight("encoder.embed_norm.{p}", "encoder.layernorm_embedding.{p}"),
        Weight("decoder.embed_norm.{p}", "decoder.layernorm_embedding.{p}"),
    ),
    prefix="model.",
    ignored=(r"(encoder|decoder)\.version",),
    renamed=bart_like.RENAMED,
    settle_read=bart_like.settle_read,
    extras=bart_like.EXTRAS,
    settle_written=bart_like.settle_written,
)

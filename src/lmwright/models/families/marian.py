"""The original Transformer (Vaswani et al. 2017, section 3) in the form that Marian publishes
(Junczys-Dowmunt et al. 2018): fixed sinusoids, norms after each addition, none of embeddings."""

from lmwright.models.families import Family, Head, bart_like
from lmwright.models.families.naming import Weight

FAMILY = Family(
    model_type="marian",
    heads={
        "sequence_to_sequence": Head(
            "MarianMTModel",
            weights=(bart_like.OUTPUT_BIAS, Weight("lm_head.{p}", "lm_head.{p}")),
        ),
        "backbone": Head("MarianModel", prefixed=False, changes={"output_bias": False}),
    },
    fields=bart_like.FIELDS,
    # Translation models pad with their last token and begin with it.
    defaults=bart_like.DEFAULTS
    | {
        "bos_token_id": None,
        "pad_token_id": 58_100,
        "eos_token_id": 0,
        "decoder_start_token_id": 58_100,
    },
    constants=bart_like.CONSTANTS | {"positions": "sinusoidal"},
    fixed=bart_like.FIXED
    | {"share_encoder_decoder_embeddings": True, "normalize_embedding": False},
    weights=bart_like.WEIGHTS,
    prefix="model.",
    ignored=(r"(encoder|decoder)\.embed_positions\.weight",),
    renamed=bart_like.RENAMED,
    settle_read=bart_like.settle_read,
    extras=bart_like.EXTRAS,
    settle_written=bart_like.settle_written,
)

"""T5 (Raffel et al. 2019, section 2.1) and T5 v1.1 (Shazeer 2020, GLU variants, section 3.1)."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, Head, activation, numbers
from lmwright.models.families.naming import Weight


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    values["num_key_value_heads"] = values["num_attention_heads"]
    if values.get("num_decoder_layers") is None:
        values["num_decoder_layers"] = values["num_hidden_layers"]
    if values.get("head_dim") is None:
        values["head_dim"] = numbers.head_dim(values)
    if (projection := values.pop("feed_forward_proj", None)) is not None:
        gated, _, name = projection.rpartition("-")
        # The published name of v1.1's activation means the approximation by tanh.
        name = "gelu_new" if projection == "gated-gelu" else name
        values |= {"gated": gated == "gated", "activation": activation.ours(name)}
    values.setdefault("gated", False)
    values.setdefault("activation", "relu")
    # Whoever does not tie does not scale, unless newer files say so on their own.
    scaled = values.pop("scale_decoder_outputs", values["tie_word_embeddings"])
    values.setdefault("output_scale", values["hidden_size"] ** -0.5 if scaled else 1.0)
    # First logits are as small as elsewhere.
    values.setdefault("initializer_range", 0.02 / values["output_scale"])
    return values


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    name = activation.published(config.activation)
    if config.gated:
        name = "gated-gelu" if config.activation == "gelu_new" else f"gated-{name}"
    encoder_decoder = config.architecture == "encoder_decoder"
    return values | {
        "feed_forward_proj": name,
        "num_decoder_layers": config.decoder_layers,
        "is_encoder_decoder": encoder_decoder,
        "scale_decoder_outputs": config.output_scale != 1.0,
        "initializer_factor": 1.0,
    }


def _gated(config: TransformerConfig) -> bool:
    return config.gated


def _plain(config: TransformerConfig) -> bool:
    return not config.gated


def _stack(stack: str, ours: str, layers: tuple[tuple[str, str, str], ...]) -> tuple[Weight, ...]:
    """One stack's weights: (published layer, our attention, our norm) in the published order."""
    block = f"{stack}.block.{{i}}.layer"
    weights = []
    for number, (layer, attention, norm) in enumerate(layers):
        norm_weight = Weight(
            f"{ours}layers.{{i}}.{norm}.{{p}}", f"{block}.{number}.layer_norm.{{p}}"
        )
        projections = (
            Weight(
                f"{ours}layers.{{i}}.{attention}.{name}_proj.{{p}}",
                f"{block}.{number}.{layer}.{name}.{{p}}",
            )
            for name in "qkvo"
        )
        weights += [norm_weight, *projections]
    last = len(layers)
    inner = f"{block}.{last}.DenseReluDense"
    return (
        *weights,
        Weight(
            f"{ours}layers.{{i}}.post_attention_layernorm.{{p}}",
            f"{block}.{last}.layer_norm.{{p}}",
        ),
        Weight(f"{ours}layers.{{i}}.mlp.up_proj.{{p}}", f"{inner}.wi.{{p}}", when=_plain),
        Weight(f"{ours}layers.{{i}}.mlp.gate_proj.{{p}}", f"{inner}.wi_0.{{p}}", when=_gated),
        Weight(f"{ours}layers.{{i}}.mlp.up_proj.{{p}}", f"{inner}.wi_1.{{p}}", when=_gated),
        Weight(f"{ours}layers.{{i}}.mlp.down_proj.{{p}}", f"{inner}.wo.{{p}}"),
        Weight(
            f"{ours}position_bias.{{p}}",
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.{{p}}",
        ),
        Weight(f"{ours}norm.{{p}}", f"{stack}.final_layer_norm.{{p}}"),
    )


_SELF = ("SelfAttention", "self_attn", "input_layernorm")
_CROSS = ("EncDecAttention", "cross_attn", "cross_attention_norm")
_SHARED = Weight("embed_tokens.{p}", "shared.{p}")

# The encoder alone, for what only reads.
_READER: dict[str, Any] = {
    "stack": (_SHARED, *_stack("encoder", "", (_SELF,))),
    "ignored": (r"decoder\..*", r"lm_head\..*"),
    "changes": {"architecture": "encoder"},
}
_DROPOUT = "classifier_dropout=0.0"
_CLASSES: dict[str, Any] = {
    "layout": {"pooling": "eos", "hidden": True, "hidden_dropout": True, "dropout": _DROPOUT},
    "weights": (
        Weight("head.dense.{p}", "classification_head.dense.{p}"),
        Weight("head.project.{p}", "classification_head.out_proj.{p}"),
    ),
}

FAMILY = Family(
    model_type="t5",
    heads={
        "sequence_to_sequence": Head(
            "T5ForConditionalGeneration",
            weights=(Weight("lm_head.{p}", "lm_head.{p}"),),
            prefixed=False,
            also=("T5WithLMHeadModel", "T5Model"),
        ),
        "sequence_classification": Head("T5ForSequenceClassification", **_CLASSES),
        "reward": Head("T5ForSequenceClassification", **_CLASSES),
        "token_classification": Head(
            "T5ForTokenClassification",
            layout={"dropout": _DROPOUT},
            weights=(Weight("head.project.{p}", "classifier.{p}"),),
            **_READER,
        ),
        "span_qa": Head(
            "T5ForQuestionAnswering",
            weights=(Weight("head.project.{p}", "qa_outputs.{p}"),),
            prefixed=False,
        ),
        "embedding": Head("T5EncoderModel", layout={"pooling": "mean"}, prefixed=False, **_READER),
        "backbone": Head("T5EncoderModel", prefixed=False, **_READER),
    },
    fields={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("d_model", "hidden_size"),
        "head_dim": ("d_kv", "head_dim"),
        "intermediate_size": ("d_ff",),
        "num_hidden_layers": ("num_layers", "num_hidden_layers"),
        "num_decoder_layers": ("num_decoder_layers",),
        "num_attention_heads": ("num_heads", "num_attention_heads"),
        "relative_buckets": ("relative_attention_num_buckets",),
        "relative_max_distance": ("relative_attention_max_distance",),
        "norm_eps": ("layer_norm_epsilon",),
        "dropout": ("dropout_rate",),
        "attention_dropout": ("dropout_rate",),
        "activation_dropout": ("dropout_rate",),
        "tie_word_embeddings": ("tie_word_embeddings",),
        "bos_token_id": ("bos_token_id",),
        "eos_token_id": ("eos_token_id",),
        "pad_token_id": ("pad_token_id",),
        "decoder_start_token_id": ("decoder_start_token_id",),
    },
    defaults={
        "head_dim": 64,
        "num_decoder_layers": None,
        "relative_buckets": 32,
        "relative_max_distance": 128,
        "norm_eps": 1e-6,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.1,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    },
    constants={
        "architecture": "encoder_decoder",
        "norm": "rms_norm",
        "positions": "relative",
        "attention_scale": 1.0,
    },
    fixed={},
    weights=(
        _SHARED,
        *_stack("encoder", "encoder.", (_SELF,)),
        *_stack("decoder", "decoder.", (_SELF, _CROSS)),
    ),
    prefix="transformer.",
    # One embedding for all, whichever of its names a file keeps.
    renamed=((r"^(encoder|decoder)\.embed_tokens\.", "shared."),),
    # An early release held a bias that no attention to the encoder ever used.
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    settle_read=_settle_read,
    extras=("feed_forward_proj", "scale_decoder_outputs"),
    settle_written=_settle_written,
)

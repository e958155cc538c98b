"""ModernBERT (Warner et al. 2024, section 2.1): rotary, gated, mostly local attention."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, Head, activation, numbers
from lmwright.models.families.naming import Weight

if TYPE_CHECKING:  # a config is read without loading torch
    from torch import Tensor

_POOLINGS = {"cls": "first", "mean": "mean"}
_ROPE = ("rope_parameters", "global_rope_theta", "local_rope_theta", "rope_scaling")


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    values["num_key_value_heads"] = values["num_attention_heads"]
    values["head_dim"] = numbers.head_dim(values)
    values["attention_output_bias"] = values["attention_bias"]
    values["activation"] = activation.ours(values["activation"])
    # Published: tokens seen on both sides together; ours: on one, the token itself included.
    values.setdefault("sliding_window", values.pop("local_attention", 128) // 2 + 1)
    every = values.pop("global_attn_every_n_layers", 3)
    if values.get("layer_types") is None:
        values["layer_types"] = [
            "sliding_attention" if index % every else "full_attention"
            for index in range(values["num_hidden_layers"])
        ]
    return _settle_rope(values)


def _settle_rope(values: dict[str, Any]) -> dict[str, Any]:
    given, old_full, old_local, scaling = (values.pop(key, None) for key in _ROPE)
    given = given or {}
    full, local = (given.get(f"{kind}_attention") or {} for kind in ("full", "sliding"))
    if scaling or {full.get("rope_type"), local.get("rope_type")} - {None, "default"}:
        raise LmwrightError(
            "config.json: scaled rotary positions are not supported for modernbert",
            hint="only rope_type default is",
        )
    values.setdefault("rope_theta", full.get("rope_theta", old_full or 160_000.0))
    values.setdefault("rope_local_theta", local.get("rope_theta", old_local or 10_000.0))
    return values


def _settle_head(
    layout: dict[str, Any], values: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    if layout.get("hidden"):
        layout["activation"] = activation.ours(values.get("classifier_activation", "gelu"))
        layout["hidden_bias"] = values.get("classifier_bias", False)
    if layout.pop("pools", False):
        layout["pooling"] = _POOLINGS[values.get("classifier_pooling", "cls")]
    return layout


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    values |= {
        "hidden_activation": activation.published(config.activation),
        "local_attention": 2 * (config.sliding_window - 1) if config.sliding_window else 128,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": config.rope_local_theta or config.rope_theta,
            },
        },
    }
    if (head := config.head) is not None and (head.hidden or head.task == "masked_lm"):
        values["classifier_activation"] = activation.published(head.activation)
        values["classifier_bias"] = head.hidden_bias
        pooling = {ours: theirs for theirs, ours in _POOLINGS.items()}.get(head.pooling)
        if pooling is not None:
            values["classifier_pooling"] = pooling
    return values


def _split(weights: Sequence["Tensor"], config: TransformerConfig) -> list["Tensor"]:
    return list(weights[0].chunk(3))


def _halve(weights: Sequence["Tensor"], config: TransformerConfig) -> list["Tensor"]:
    return list(weights[0].chunk(2))


def _join(weights: Sequence["Tensor"], config: TransformerConfig) -> list["Tensor"]:
    import torch

    return [torch.cat(list(weights))]


_TRANSFORM = (
    Weight("head.dense.{p}", "head.dense.{p}"),
    Weight("head.norm.{p}", "head.norm.{p}"),
)
_LAYOUT = {"hidden": True, "norm": True, "dropout": "classifier_dropout=0.0"}
_CLASSIFIER = (*_TRANSFORM, Weight("head.project.{p}", "classifier.{p}"))
_CLASSES: dict[str, Any] = {"layout": _LAYOUT | {"pools": True}, "weights": _CLASSIFIER}

FAMILY = Family(
    model_type="modernbert",
    heads={
        "masked_lm": Head(
            "ModernBertForMaskedLM",
            layout={"hidden": True},
            weights=(
                *_TRANSFORM,
                Weight("head.bias", "decoder.bias"),
                Weight("head.decoder.weight", "decoder.weight"),
            ),
        ),
        "sequence_classification": Head("ModernBertForSequenceClassification", **_CLASSES),
        "reward": Head("ModernBertForSequenceClassification", **_CLASSES),
        "token_classification": Head(
            "ModernBertForTokenClassification", layout=_LAYOUT, weights=_CLASSIFIER
        ),
        "span_qa": Head("ModernBertForQuestionAnswering", layout=_LAYOUT, weights=_CLASSIFIER),
        "embedding": Head("ModernBertModel", layout={"pooling": "mean"}, prefixed=False),
        "backbone": Head("ModernBertModel", prefixed=False),
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
            "norm_eps",
            "norm_bias",
            "attention_bias",
            "layer_types",
            "tie_word_embeddings",
            "initializer_range",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
        )
    }
    | {
        "activation": ("hidden_activation",),
        "feed_forward_bias": ("mlp_bias",),
        "activation_dropout": ("mlp_dropout",),
        "output_bias": ("decoder_bias",),
    },
    defaults={
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "feed_forward_bias": False,
        "activation_dropout": 0.0,
        "output_bias": True,
        "layer_types": None,
        "activation": "gelu",
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "bos_token_id": 50_281,
        "eos_token_id": 50_282,
        "pad_token_id": 50_283,
    },
    constants={
        "architecture": "encoder",
        "norm": "layer_norm",
        "embedding_norm": True,
        "first_norm": False,
        "gated": True,
        "rotary_in_float32": True,
    },
    # Dropout stands elsewhere than in our blocks; what is published has none.
    fixed={"embedding_dropout": 0.0, "attention_dropout": 0.0},
    weights=(
        Weight("embed_tokens.{p}", "embeddings.tok_embeddings.{p}"),
        Weight("embed_norm.{p}", "embeddings.norm.{p}"),
        Weight("layers.{i}.input_layernorm.{p}", "layers.{i}.attn_norm.{p}"),
        Weight(
            tuple(f"layers.{{i}}.self_attn.{name}_proj.{{p}}" for name in "qkv"),
            "layers.{i}.attn.Wqkv.{p}",
            _split,
            _join,
        ),
        Weight("layers.{i}.self_attn.o_proj.{p}", "layers.{i}.attn.Wo.{p}"),
        Weight("layers.{i}.post_attention_layernorm.{p}", "layers.{i}.mlp_norm.{p}"),
        Weight(
            ("layers.{i}.mlp.gate_proj.{p}", "layers.{i}.mlp.up_proj.{p}"),
            "layers.{i}.mlp.Wi.{p}",
            _halve,
            _join,
        ),
        Weight("layers.{i}.mlp.down_proj.{p}", "layers.{i}.mlp.Wo.{p}"),
        Weight("norm.{p}", "final_norm.{p}"),
    ),
    prefix="model.",
    settle_read=_settle_read,
    extras=("local_attention", "global_attn_every_n_layers", *_ROPE),
    settle_head=_settle_head,
    settle_written=_settle_written,
)

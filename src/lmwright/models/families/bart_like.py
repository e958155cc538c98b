"""What BART and Marian share: names of weights, keys of config.json."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.families import activation, numbers
from lmwright.models.families.naming import Weight

if TYPE_CHECKING:  # a config is read without loading torch
    from torch import Tensor

# Both stacks have the same shape in everything published.
_DECODER = {
    "decoder_attention_heads": "num_attention_heads",
    "decoder_ffn_dim": "intermediate_size",
}
EXTRAS = (*_DECODER, "scale_embedding")

FIELDS: dict[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("d_model", "hidden_size"),
    "intermediate_size": ("encoder_ffn_dim",),
    "num_hidden_layers": ("encoder_layers", "num_hidden_layers"),
    "num_decoder_layers": ("decoder_layers",),
    "num_attention_heads": ("encoder_attention_heads", "num_attention_heads"),
    "max_position_embeddings": ("max_position_embeddings",),
    "activation": ("activation_function",),
    "dropout": ("dropout",),
    "attention_dropout": ("attention_dropout",),
    "activation_dropout": ("activation_dropout",),
    "initializer_range": ("init_std",),
    "bos_token_id": ("bos_token_id",),
    "eos_token_id": ("eos_token_id",),
    "pad_token_id": ("pad_token_id",),
    "decoder_start_token_id": ("decoder_start_token_id",),
}

DEFAULTS: dict[str, Any] = {
    "num_decoder_layers": None,
    "max_position_embeddings": 1024,
    "activation": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "initializer_range": 0.02,
}

CONSTANTS: dict[str, Any] = {
    "architecture": "encoder_decoder",
    "norm": "layer_norm",
    "norm_eps": 1e-5,
    "norm_placement": "post",
    "final_norm": False,
    "attention_bias": True,
    "attention_output_bias": True,
    "feed_forward_bias": True,
    "gated": False,
    "output_bias": True,
    "tie_word_embeddings": True,
    "round_embedding_scale": False,
}

# Keys of files from before these were families of their own.
FIXED: dict[str, Any] = {
    "tie_word_embeddings": True,
    "normalize_before": False,
    "add_final_layer_norm": False,
}


# One embedding for all, whichever of its names a file keeps.
RENAMED = ((r"^(encoder|decoder)\.embed_tokens\.", "shared."),)


def _flat(weights: Sequence["Tensor"], config: TransformerConfig) -> list["Tensor"]:
    return [weights[0].reshape(-1)]


def _row(weights: Sequence["Tensor"], config: TransformerConfig) -> list["Tensor"]:
    return [weights[0].reshape(1, -1)]


OUTPUT_BIAS = Weight("output_bias", "final_logits_bias", _flat, _row)


def _stack(stack: str) -> tuple[Weight, ...]:
    block = f"{stack}.layers.{{i}}"
    attentions = (
        ("self_attn", "self_attn", "attention_output_norm", "self_attn_layer_norm"),
        ("cross_attn", "encoder_attn", "cross_attention_output_norm", "encoder_attn_layer_norm"),
    )
    weights = []
    for ours, theirs, norm, published_norm in attentions[: 1 if stack == "encoder" else 2]:
        weights += [
            Weight(f"{block}.{ours}.{name}_proj.{{p}}", f"{block}.{theirs}.{published}.{{p}}")
            for name, published in zip(
                "qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True
            )
        ]
        weights.append(Weight(f"{block}.{norm}.{{p}}", f"{block}.{published_norm}.{{p}}"))
    return (
        *weights,
        Weight(f"{block}.mlp.up_proj.{{p}}", f"{block}.fc1.{{p}}"),
        Weight(f"{block}.mlp.down_proj.{{p}}", f"{block}.fc2.{{p}}"),
        Weight(f"{block}.feed_forward_output_norm.{{p}}", f"{block}.final_layer_norm.{{p}}"),
    )


WEIGHTS = (Weight("embed_tokens.{p}", "shared.{p}"), *_stack("encoder"), *_stack("decoder"))


def settle_read(values: dict[str, Any]) -> dict[str, Any]:
    """Sizes that follow from others, the embedding's scale, our name of the activation.

    Raises:
        LmwrightError: if the two stacks have different shapes.
    """
    for key, name in _DECODER.items():
        given = values.pop(key, values[name])
        if given != values[name]:
            raise LmwrightError(
                f"config.json: {key} is {given}, the encoder's is {values[name]}; "
                "only stacks of one shape are supported"
            )
    values["num_key_value_heads"] = values["num_attention_heads"]
    if values.get("num_decoder_layers") is None:
        values["num_decoder_layers"] = values["num_hidden_layers"]
    values["head_dim"] = numbers.head_dim(values)
    values["activation"] = activation.ours(values["activation"])
    scaled = values.pop("scale_embedding", False)
    # Vaswani et al. 2017, section 3.4.
    values.setdefault("embedding_scale", values["hidden_size"] ** 0.5 if scaled else 1.0)
    return values


def settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    """What both stacks have, said of each."""
    return values | {
        "is_encoder_decoder": True,
        "activation_function": activation.published(config.activation),
        "scale_embedding": config.embedding_scale != 1.0,
        "decoder_layers": config.decoder_layers,
        "decoder_attention_heads": config.num_attention_heads,
        "decoder_ffn_dim": config.intermediate_size,
    }

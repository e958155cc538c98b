"""GPT-NeoX and Pythia (Black et al. 2022, GPT-NeoX-20B, section 2; Biderman et al. 2023)."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, activation, fused, llama_like, numbers, rope
from lmwright.models.families.naming import Weight


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    share = values.pop("rotary_pct", None)
    if share is not None:  # unless the newer key says it
        group = {"partial_rotary_factor": share} | (values.get("rope_parameters") or {})
        values["rope_parameters"] = group
        if values.get("rope_scaling"):
            values["rope_scaling"] = group | values["rope_scaling"]
    values |= {
        "num_key_value_heads": values["num_attention_heads"],
        "head_dim": numbers.head_dim(values),
        "attention_output_bias": values["attention_bias"],
        "activation": activation.ours(values["activation"]),
    }
    return rope.read(values, partial=True)


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    parameters = {"partial_rotary_factor": 1.0} | rope.written(config)
    return values | {
        "hidden_act": activation.published(config.activation),
        "rope_parameters": parameters,
        # Where older readers look.
        "rotary_emb_base": config.rope_theta,
        "rotary_pct": parameters["partial_rotary_factor"],
    }


_ATTENTION = "layers.{i}.attention"
FAMILY = Family(
    model_type="gpt_neox",
    heads=llama_like.heads(
        "GPTNeoX",
        output=("embed_out", "lm_head"),
        tags="classifier",
        tag_dropout="classifier_dropout",
    ),
    fields={
        name: (name,)
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "attention_bias",
            "tie_word_embeddings",
            "initializer_range",
            "attention_dropout",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
        )
    }
    | {
        "activation": ("hidden_act",),
        "norm_eps": ("layer_norm_eps",),
        "dropout": ("hidden_dropout",),
        "parallel_residual": ("use_parallel_residual",),
        "rope_theta": (
            "rope_parameters.rope_theta",
            "rope_scaling.rope_theta",
            "rotary_emb_base",
        ),
    },
    defaults={
        "max_position_embeddings": 2_048,
        "activation": "gelu",
        "norm_eps": 1e-5,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "attention_bias": True,
        "parallel_residual": True,
        "rope_theta": 10_000.0,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": None,
    },
    constants={"norm": "layer_norm", "feed_forward_bias": True, "gated": False},
    fixed={},
    weights=(
        Weight("embed_tokens.{p}", "embed_in.{p}"),
        *llama_like.NORMS,
        fused.interleaved(f"{_ATTENTION}.query_key_value.{{p}}"),
        Weight("layers.{i}.self_attn.o_proj.{p}", f"{_ATTENTION}.dense.{{p}}"),
        Weight("layers.{i}.mlp.up_proj.{p}", "layers.{i}.mlp.dense_h_to_4h.{p}"),
        Weight("layers.{i}.mlp.down_proj.{p}", "layers.{i}.mlp.dense_4h_to_h.{p}"),
        Weight("norm.{p}", "final_layer_norm.{p}"),
    ),
    prefix="gpt_neox.",
    ignored=(r"(.*\.)?attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
    settle_read=_settle_read,
    extras=("rotary_pct", *rope.EXTRAS),
    settle_written=_settle_written,
)

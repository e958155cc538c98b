"""GPT-2 (Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, activation, llama_like, numbers
from lmwright.models.families.naming import Weight


def _transposed(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    # Published as (inputs, outputs), what linear layers call the other way round.
    return [w.T.contiguous() if w.ndim == 2 else w for w in weights]


def _split(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    return _transposed(weights[0].chunk(3, dim=-1), config)


def _join(weights: Sequence[Tensor], config: TransformerConfig) -> list[Tensor]:
    import torch

    return [torch.cat(_transposed(weights, config), dim=-1)]


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    values["num_key_value_heads"] = values["num_attention_heads"]
    values["head_dim"] = numbers.head_dim(values)
    if values.get("intermediate_size") is None:
        values["intermediate_size"] = 4 * values["hidden_size"]
    values["activation"] = activation.ours(values["activation"])
    if values.pop("embd_pdrop", values["dropout"]) != values["dropout"]:
        raise LmwrightError("config.json: embd_pdrop differs from resid_pdrop; we have one dropout")
    return values


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    name = activation.published(config.activation)
    return values | {"embd_pdrop": config.dropout, "activation_function": name}


FAMILY = Family(
    model_type="gpt2",
    heads=llama_like.heads("GPT2", causal_lm="GPT2LMHeadModel", tags="classifier"),
    fields={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("n_embd", "hidden_size"),
        "intermediate_size": ("n_inner",),
        "num_hidden_layers": ("n_layer", "num_hidden_layers"),
        "num_attention_heads": ("n_head", "num_attention_heads"),
        "max_position_embeddings": ("n_positions", "max_position_embeddings"),
        "activation": ("activation_function",),
        "norm_eps": ("layer_norm_epsilon",),
        "tie_word_embeddings": ("tie_word_embeddings",),
        "initializer_range": ("initializer_range",),
        "dropout": ("resid_pdrop",),
        "attention_dropout": ("attn_pdrop",),
        "bos_token_id": ("bos_token_id",),
        "eos_token_id": ("eos_token_id",),
        "pad_token_id": ("pad_token_id",),
    },
    defaults={
        "intermediate_size": None,
        "max_position_embeddings": 1_024,
        "activation": "gelu_new",
        "norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "dropout": 0.1,
        "embd_pdrop": 0.1,
        "attention_dropout": 0.1,
        "bos_token_id": 50_256,
        "eos_token_id": 50_256,
        "pad_token_id": None,
    },
    constants={
        "norm": "layer_norm",
        "positions": "learned",
        "attention_bias": True,
        "attention_output_bias": True,
        "feed_forward_bias": True,
        "gated": False,
    },
    fixed={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    },
    weights=(
        Weight("embed_tokens.{p}", "wte.{p}"),
        Weight("embed_positions.{p}", "wpe.{p}"),
        Weight("layers.{i}.input_layernorm.{p}", "h.{i}.ln_1.{p}"),
        Weight(
            tuple(f"layers.{{i}}.self_attn.{name}_proj.{{p}}" for name in "qkv"),
            "h.{i}.attn.c_attn.{p}",
            _split,
            _join,
        ),
        Weight(
            "layers.{i}.self_attn.o_proj.{p}", "h.{i}.attn.c_proj.{p}", _transposed, _transposed
        ),
        Weight("layers.{i}.post_attention_layernorm.{p}", "h.{i}.ln_2.{p}"),
        Weight("layers.{i}.mlp.up_proj.{p}", "h.{i}.mlp.c_fc.{p}", _transposed, _transposed),
        Weight("layers.{i}.mlp.down_proj.{p}", "h.{i}.mlp.c_proj.{p}", _transposed, _transposed),
        Weight("norm.{p}", "ln_f.{p}"),
    ),
    prefix="transformer.",
    ignored=(r".*h\.\d+\.attn\.(masked_)?bias",),
    settle_read=_settle_read,
    extras=("embd_pdrop",),
    settle_written=_settle_written,
)

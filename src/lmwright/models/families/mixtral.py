"""Mixtral (Jiang et al. 2024, Mixtral of Experts, section 2): 2 of 8 experts in each block."""

from typing import Any

from lmwright.models.config import ExpertsConfig, TransformerConfig
from lmwright.models.families import Family, fused, llama_like, rope, windows

LOSSES = ("router_aux_loss_coef", "router_z_loss_coef")


def losses(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of `ExpertsConfig` that only training knows; where files are silent there is no
    z-loss."""
    return {
        "load_balance_coefficient": values.pop("router_aux_loss_coef"),
        "z_coefficient": values.pop("router_z_loss_coef"),
    }


def written_losses(experts: ExpertsConfig) -> dict[str, Any]:
    """`losses` the other way round."""
    return {
        "router_aux_loss_coef": experts.load_balance_coefficient,
        "router_z_loss_coef": experts.z_coefficient,
    }


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    number = values.pop("num_local_experts", None)
    if number is not None:
        values["experts"] = {
            "num_experts": number,
            "num_experts_per_tok": values.pop("num_experts_per_tok"),
            "intermediate_size": values["intermediate_size"],
            "layers": range(values["num_hidden_layers"]),
            **losses(values),
        }
    return llama_like.settle_read(windows.everywhere(values))


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    values = llama_like.settle_written(values, config)
    experts = config.experts
    if experts is None:
        return values
    return values | {
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.num_experts_per_tok,
        **written_losses(experts),
    }


FAMILY = Family(
    model_type="mixtral",
    heads=llama_like.heads("Mixtral"),
    fields=llama_like.FIELDS | {"sliding_window": ("sliding_window",)},
    defaults=llama_like.DEFAULTS
    | {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.001,
        "router_z_loss_coef": 0.0,
    },
    fixed={"router_jitter_noise": 0.0, "layer_types": None},
    weights=(*llama_like.STACK, *fused.experts("block_sparse_moe", "w1", "w3", "w2")),
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=("num_local_experts", "num_experts_per_tok", *LOSSES, *rope.EXTRAS),
    settle_written=_settle_written,
)

"""Qwen3's mixtures of experts (Yang et al. 2025, Qwen3 Technical Report, section 2)."""

from typing import Any

from lmwright.models.config import TransformerConfig
from lmwright.models.families import Family, fused, llama_like, mixtral, rope, windows

_EXPERTS = (
    "num_local_experts",  # newer files say this
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "norm_topk_prob",
    "decoder_sparse_step",
    "mlp_only_layers",
)


def _settle_experts(values: dict[str, Any]) -> dict[str, Any]:
    given = {key: values.pop(key) for key in _EXPERTS if key in values}
    if not given:
        return values  # a new model, whose experts come as our blocks call them
    step, dense = given["decoder_sparse_step"], given["mlp_only_layers"] or ()
    number = given.get("num_local_experts", given["num_experts"])
    losses = mixtral.losses(values)
    layers = [
        index
        for index in range(values["num_hidden_layers"])
        if index not in dense and (index + 1) % step == 0
    ]
    if layers and number:
        values["experts"] = {
            "num_experts": number,
            "num_experts_per_tok": given["num_experts_per_tok"],
            "intermediate_size": given["moe_intermediate_size"],
            "normalize_weights": given["norm_topk_prob"],
            "rounded_weights": True,
            "layers": layers,
            **losses,
        }
    return values


def _settle_read(values: dict[str, Any]) -> dict[str, Any]:
    values = llama_like.one_bias(_settle_experts(values))
    if not values.pop("use_sliding_window", True):
        values["sliding_window"] = None
    return llama_like.settle_read(windows.everywhere(values))


def _settle_written(values: dict[str, Any], config: TransformerConfig) -> dict[str, Any]:
    values = llama_like.settle_written(values, config)
    values["use_sliding_window"] = "sliding_attention" in config.layer_types
    experts = config.experts
    if experts is None:
        return values | {"num_experts": 0, "num_local_experts": 0}
    return values | {
        "num_experts": experts.num_experts,
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.num_experts_per_tok,
        "moe_intermediate_size": experts.intermediate_size,
        "norm_topk_prob": experts.normalize_weights,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [
            i for i in range(config.num_hidden_layers) if not config.has_experts(i)
        ],
        **mixtral.written_losses(experts),
    }


FAMILY = Family(
    model_type="qwen3_moe",
    heads=llama_like.heads("Qwen3Moe"),
    fields=llama_like.FIELDS
    | {"attention_bias": ("attention_bias",), "sliding_window": ("sliding_window",)},
    defaults=llama_like.DEFAULTS
    | {
        "num_key_value_heads": 4,
        "max_position_embeddings": 32_768,
        "attention_bias": False,
        "sliding_window": 4_096,
        "use_sliding_window": False,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
        "router_aux_loss_coef": 0.001,
        "router_z_loss_coef": 0.0,
    },
    constants={"query_key_norm": True},
    fixed={"layer_types": None},
    weights=(
        *llama_like.WEIGHTS,
        *fused.experts("mlp", "gate_proj", "up_proj", "down_proj"),
    ),
    prefix=llama_like.PREFIX,
    ignored=llama_like.IGNORED,
    settle_read=_settle_read,
    extras=("use_sliding_window", *_EXPERTS, *mixtral.LOSSES, *rope.EXTRAS),
    settle_written=_settle_written,
)

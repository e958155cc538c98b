"""A tiny mixture of experts learns tiny_shakespeare with the router in use."""

from typing import Any

from lmwright.models.config import ExpertsConfig, TransformerConfig
from lmwright.roadmap.proofs import shakespeare_loss

SHAPE = TransformerConfig(
    vocab_size=256,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    max_position_embeddings=64,
    experts=ExpertsConfig(
        num_experts=4,
        num_experts_per_tok=2,
        intermediate_size=48,
        capacity_factor=1.0,  # so that some tokens are refused, as in GShard
        layers=(0, 1),
    ),
)
STEPS = 60


def measure() -> dict[str, Any]:
    """Loss on held-out text after 60 steps, with what its experts had to refuse."""
    return shakespeare_loss(SHAPE, STEPS)

"""A tiny mixture of experts learns Shakespeare's characters with the router in use."""

from typing import Any

from lmwright.models.config import ExpertsConfig
from lmwright.roadmap.training_proofs import character_model_nats

EXPERTS = ExpertsConfig(
    num_experts=4,
    num_experts_per_tok=2,
    intermediate_size=64,
    capacity_factor=1.0,  # so that some tokens are refused, as in GShard
    layers=(0, 1),
)


def measure() -> dict[str, Any]:
    """Nats per character on held-out speeches after a fixed number of steps."""
    return {"validation_nats_per_character": character_model_nats(60, EXPERTS)}

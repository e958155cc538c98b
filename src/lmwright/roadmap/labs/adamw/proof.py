"""A small decoder learns Shakespeare's characters by the optimiser's step in use."""

from typing import Any

from lmwright.roadmap.training_proofs import character_model_nats


def measure() -> dict[str, Any]:
    """Nats per character on held-out speeches after a fixed number of steps."""
    return {"validation_nats_per_character": character_model_nats()}

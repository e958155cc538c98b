"""A small encoder learns Wikipedia's words from what the function in use hides."""

from typing import Any

from lmwright.roadmap.training_proofs import hidden_word_nats


def measure() -> dict[str, Any]:
    """Nats per hidden word on held-out articles after a fixed number of steps."""
    return {"validation_nats_per_hidden_word": hidden_word_nats()}

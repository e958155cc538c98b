"""stories260K tells its story with the rotation in use."""

from typing import Any

from lmwright.roadmap.proofs import story_tokens


def measure() -> dict[str, Any]:
    """How many greedy tokens differ from the reference's."""
    return story_tokens()

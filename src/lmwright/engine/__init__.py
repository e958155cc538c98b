"""Generation: sequences, cache, runner, sampling, and the one loop that every caller uses."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmwright.engine.llm import LLM, Completion, Delta
    from lmwright.engine.params import Constraint, SamplingParams

__all__ = ["LLM", "Completion", "Constraint", "Delta", "SamplingParams"]


def __getattr__(name: str) -> Any:
    """Import torch only when something is generated."""
    if name in ("Constraint", "SamplingParams"):
        from lmwright.engine import params

        return getattr(params, name)
    if name in __all__:
        from lmwright.engine import llm

        return getattr(llm, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Smaller models: quantised weights, in a layout that other tools open."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmwright.compression.weights import load, quantize, save

__all__ = ["load", "quantize", "save"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is opened, quantised or saved."""
    if name in __all__:
        from lmwright.compression import weights

        return getattr(weights, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Architectures: layers, families, initialisation, exchange with the world, accounting."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmwright.models.exchange import load, save

__all__ = ["load", "save"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is opened or saved."""
    if name in __all__:
        from lmwright.models import exchange

        return getattr(exchange, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

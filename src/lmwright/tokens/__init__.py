"""Text to ids and back: tokenizer, chat template and masks, packing, shards, loader."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmwright.tokens.tokenizer import Tokenizer, load

__all__ = ["Tokenizer", "load"]


def __getattr__(name: str) -> Any:
    # On demand, so that `import lmwright.tokens.commands` costs nothing.
    if name in __all__:
        from lmwright.tokens import tokenizer

        return getattr(tokenizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

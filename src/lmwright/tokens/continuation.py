"""Text that goes on from other text: encoded without the space that begins a text.

SentencePiece's tokenizers put a space before each text, so that its first word is like the others.
A text in several pieces, such as an answer after its question, must get that space once.
"""

import json
from typing import Any, Literal, TypeAlias

import tokenizers

Prefix: TypeAlias = Literal["none", "text", "segment"]
"""Where a tokenizer puts a space: nowhere, before a text, or also after each special token."""


def prefix_of(rust: tokenizers.Tokenizer) -> Prefix:
    """Where a tokenizer puts a space that is not in the text."""
    state = json.loads(rust.to_str())
    found = {prefix for part in ("normalizer", "pre_tokenizer") for prefix in _find(state[part])}
    if not found:
        return "none"
    return "segment" if "segment" in found else "text"


def without_prefix(rust: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same tokenizer, but that it puts no space before a text."""
    state = json.loads(rust.to_str())
    for part in ("normalizer", "pre_tokenizer"):
        state[part] = _removed(state[part])
    bare = tokenizers.Tokenizer.from_str(json.dumps(state))
    # No file says so: special tokens' names in a text are text.
    bare.encode_special_tokens = True
    return bare


def _find(part: Any) -> list[Prefix]:
    """What the steps of a normalizer or pre-tokenizer put before a text."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [prefix for step in _steps(part) for prefix in _find(step)]
    if part["type"] == "Metaspace":
        scheme = part["prepend_scheme"]
        return [] if scheme == "never" else ["text" if scheme == "first" else "segment"]
    adds = part["type"] == "Prepend" or (part["type"] == "ByteLevel" and part["add_prefix_space"])
    return ["segment"] if adds else []


def _removed(part: Any) -> Any:
    """A normalizer or pre-tokenizer without what puts something before a text."""
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        key = "normalizers" if "normalizers" in part else "pretokenizers"
        kept = [step for step in map(_removed, part[key]) if step is not None]
        return part | {key: kept}
    if part["type"] == "Metaspace":
        return part | {"prepend_scheme": "never"}
    if part["type"] == "ByteLevel":
        return part | {"add_prefix_space": False}
    return part


def _steps(part: dict[str, Any]) -> list[Any]:
    steps: list[Any] = part.get("normalizers", part.get("pretokenizers", []))
    return steps

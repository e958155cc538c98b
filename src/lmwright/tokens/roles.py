"""Which tokens are special, and what each is for: start, end, padding, mask and so on."""

from collections.abc import Collection, Mapping
from typing import Any

from lmwright.core.errors import LmwrightError

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""Start and end of a document; unknown; end of a part; filler; start of a text; hidden token."""

# What published vocabularies call them. Only where a folder names no role at all: GPT-2's and
# BERT's first tokenizer_config.json did not.
_CONVENTIONS: Mapping[str, tuple[str, ...]] = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]"),
    "sep": ("[SEP]",),
    "pad": ("<pad>", "[PAD]"),
    "cls": ("[CLS]",),
    "mask": ("<mask>", "[MASK]"),
}


def token_name(config: Mapping[str, Any], key: str) -> str | None:
    """A token named in tokenizer_config.json, which may hold a text or an object.

    Raises:
        LmwrightError: if it holds something else.
    """
    value = config.get(key)
    if isinstance(value, Mapping):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise LmwrightError(f"tokenizer_config.json: {key} is {value!r}, not a token")
    return value


def flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """A switch in tokenizer_config.json; `default` where it is absent or null.

    Raises:
        LmwrightError: if it is neither true nor false.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise LmwrightError(f"tokenizer_config.json: {key} is {value!r}, not true or false")
    return default if value is None else value


def special_roles(config: Mapping[str, Any], special: Collection[str]) -> dict[str, str]:
    """The token of each role that is filled.

    Args:
        config: content of tokenizer_config.json, which names tokens under `eos_token` and so on.
        special: the special tokens; where the config names none, their names tell their roles.

    Raises:
        LmwrightError: if the config names something that is not a token.
    """
    named = {role: token_name(config, f"{role}_token") for role in ROLES}
    found = {role: name for role, name in named.items() if name is not None}
    if found:
        return found
    for role, names in _CONVENTIONS.items():
        name = next((name for name in names if name in special), None)
        if name is not None:
            found[role] = name
    if "mask" in found and "cls" not in found and {"<s>", "</s>"} <= set(special):
        # RoBERTa's start and end do the work of BERT's [CLS] and [SEP].
        found |= {"cls": "<s>", "sep": "</s>"}
    return found

"""Keeping the names of special tokens from being read as special tokens.

A unigram model finds any entry of its vocabulary in a text, the special ones too: a user who
types `</s>` would end the document. Cutting such names in two before the model sees them keeps
them text. (BPE reaches an entry only over merges, and special tokens have none.)
"""

import re

import tokenizers
from tokenizers import Regex, models, pre_tokenizers

from lmwright.tokens.scored_bpe import BYTE_PIECE


def guard_special(rust: tokenizers.Tokenizer) -> None:
    """Make a unigram tokenizer cut special tokens' names in text; others are left as they are.

    Args:
        rust: changed in place; its `encode_special_tokens` is set, so that it looks for no
            special token itself.
    """
    if not isinstance(rust.model, models.Unigram):
        return
    vocabulary = rust.get_vocab(with_added_tokens=False)
    added = rust.get_added_tokens_decoder().values()
    names = {token.content for token in added if token.special}
    names |= {text for text in vocabulary if BYTE_PIECE.fullmatch(text)}
    names &= vocabulary.keys()
    found = [name for name in sorted(names) if len(name) > 1 and _leaks(rust, name)]
    if not found:
        return
    others = vocabulary.keys() - names
    pairs = {text[i : i + 2] for text in others for i in range(len(text) - 1)}
    known = {text for text in others if len(text) == 1}
    cuts = "|".join(_cut(name, pairs, known) for name in found)
    guard = pre_tokenizers.Split(Regex(cuts), "merged_with_previous")
    before = rust.pre_tokenizer
    # After the others: a pre-tokenizer that puts a mark before each word must not see the cut.
    rust.pre_tokenizer = pre_tokenizers.Sequence([before, guard]) if before else guard


def _leaks(rust: tokenizers.Tokenizer, name: str) -> bool:
    """Whether the text `name` becomes the token `name`."""
    token = rust.token_to_id(name)
    texts = (name, f"a{name}a")
    return any(token in rust.encode(text, add_special_tokens=False).ids for text in texts)


def _cut(name: str, pairs: set[str], known: set[str]) -> str:
    """A pattern for the character after which `name` is cut, where nothing else is hurt.

    Args:
        name: what no text may become.
        pairs: neighbours within other entries, which would be parted.
        known: single characters; a run of unknown ones is one token and would be two.
    """
    cuts = range(1, len(name))
    free = [i for i in cuts if name[i - 1 : i + 1] not in pairs] or cuts
    cut = next((i for i in free if known & {name[i - 1], name[i]}), free[0])
    behind = f"(?<={re.escape(name[: cut - 1])})" if cut > 1 else ""
    return f"{behind}{re.escape(name[cut - 1])}(?={re.escape(name[cut:])})"

"""Byte-level BPE (Radford et al. 2019): `encoder.json` + `vocab.bpe`, `vocab.json` + `merges.txt`.

Text is cut into words by a pattern, its UTF-8 bytes are written as 256 visible characters, and
pairs are merged in the order in which they were learned. Nothing is ever unknown.
"""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from lmwright.core.errors import LmwrightError

END_OF_TEXT = "<|endoftext|>"
# Of RoBERTa and BART, which took GPT-2's vocabulary and its way to cut words.
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_GPT2 = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}


def read_vocabulary(data: bytes, file: Path) -> dict[str, int]:
    """Ids of the tokens in a file's bytes, a JSON object.

    Raises:
        LmwrightError: if it is not JSON, or not an object of different non-negative ids.
    """
    try:
        vocabulary = json.loads(data)
    except ValueError as error:
        raise LmwrightError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise LmwrightError(f"{file} is not a JSON object of tokens and ids")
    ids = vocabulary.values()
    if not all(type(i) is int and i >= 0 for i in ids) or len(set(ids)) < len(vocabulary):
        raise LmwrightError(f"{file}: the ids are not different non-negative integers")
    return vocabulary


def read_merges(data: bytes, file: Path) -> list[tuple[str, str]]:
    """The pairs in a file's bytes, one a line, first merged first.

    Raises:
        LmwrightError: if it is not text, or a line is not a pair.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise LmwrightError(f"{file} is not UTF-8 text: {error}") from error
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\r")
        if not text or (number == 1 and text.startswith("#version")):
            continue
        left, space, right = text.partition(" ")
        if not (left and space and right) or " " in right:
            raise LmwrightError(f"{file}, line {number}: {text!r} is not a pair of tokens")
        merges.append((left, right))
    return merges


def convert(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], file: Path, *, prefix: bool
) -> tokenizers.Tokenizer:
    """The tokenizer with GPT-2's way to cut words; with RoBERTa's tokens, as RoBERTa uses it.

    Args:
        vocabulary: ids of the tokens.
        merges: pairs of tokens, first merged first.
        file: where the merges stand, for errors.
        prefix: put a space before a text that begins with none.

    Raises:
        LmwrightError: if a pair or its join is not in the vocabulary.
    """
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in vocabulary:
                raise LmwrightError(
                    f"{file}: the merge of {left!r} and {right!r} needs the token {token!r}, "
                    "which the vocabulary does not hold",
                    hint="the two files belong to different tokenizers, or one is cut short",
                )
    rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=True)
    rust.decoder = decoders.ByteLevel()
    special = dict.fromkeys(names(vocabulary).values())
    # RoBERTa's mask takes the space before it: `a <mask>` is two tokens.
    rust.add_special_tokens(
        [tokenizers.AddedToken(t, lstrip=t == "<mask>", special=True) for t in special]
    )
    if is_roberta(vocabulary):
        separator, start = (("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]))
        rust.post_processor = processors.RobertaProcessing(
            separator, start, trim_offsets=True, add_prefix_space=prefix
        )
    else:
        rust.post_processor = processors.ByteLevel(trim_offsets=False)
    return rust


def is_roberta(vocabulary: dict[str, int]) -> bool:
    """Whether the special tokens are those of RoBERTa and BART, not GPT-2's one."""
    return set(_ROBERTA.values()) <= vocabulary.keys()


def names(vocabulary: dict[str, int]) -> dict[str, Any]:
    """The special tokens, as tokenizer_config.json names them."""
    roles = _ROBERTA if is_roberta(vocabulary) else _GPT2
    return {role: token for role, token in roles.items() if token in vocabulary}

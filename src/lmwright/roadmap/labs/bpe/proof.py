"""A vocabulary is learned from Shakespeare, and Shakespeare is written in it."""

from collections import Counter
from typing import Any

from tokenizers import Regex, pre_tokenizers

from lmwright.roadmap.proofs import data_folder
from lmwright.tokens import bpe
from lmwright.tokens.vocabulary import WORD_PATTERN

VOCABULARY = 512  # small enough for code that counts all pairs anew for each merge


def measure() -> dict[str, Any]:
    """Bytes that a token stands for, in the text that the vocabulary was learned from."""
    text = (data_folder("tiny_shakespeare") / "input.txt").read_text("utf-8")
    cutter = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    words = Counter(word.encode() for word, _ in cutter.pre_tokenize_str(text))
    learned = bpe.BytePairs.train(words, VOCABULARY)
    tokens = sum(times * len(learned.split(word)) for word, times in words.items())
    return {
        "bytes_per_token": len(text.encode()) / tokens,
        "merges": len(learned.merges),
    }

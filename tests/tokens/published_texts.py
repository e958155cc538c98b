"""Texts on which tokenizers are compared: the datasets' lines, and odd ones."""

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

ODD = (
    *("", " ", "  ", "\t", "\n", "\r\n", " a", "a ", "a  b", "   a    b   ", "\n\na\nb\n"),
    *("\u2581", "a\u2581b", "\u2581\u2581a", "aaaaaaaaaaaaa", " " * 40, "0123456789" * 3),
    *(
        "\u00a0a\u3000b\u2003c",
        "ﬁ ½ Ⅷ ℃ ㌔",
        "e\u0301 \u212b",
        "日本語、中文。한국어",
        "👩‍👩‍👧‍👦🇩🇪❤️",
    ),
    *("\u0000\u0001\u001b\u007f\u0085\u200b\ufeff\ufffd", "naïve Ünïcode ŁÓDŹ ǅ İstanbul ß"),
    *("</s>", "a</s>b", "<unk>", "<s>x", "<pad> ", "<0x41>", "[CLS] a [MASK]", "<|endoftext|>"),
    *("don't I'm we'll THEY'VE", "http://a.b/c?d=e&f#g", "x" * 150, "$1,000.50 (ca. 7 %)"),
    # Two accents on a letter, one after the other.
    "Tie\u0302\u0301ng Vie\u0323\u0302t \u1ebd\u0303",
)


def dataset_texts(data: Path, random_text: Callable[[random.Random], str]) -> list[str]:
    """3,000 lines and more: prose, news, German, tables, tweets, and random code points."""
    rng = random.Random(7)
    lines = (data / "wikitext-2" / "valid.txt").read_text("utf-8").split("\n")[:1200]
    lines += (data / "tiny_shakespeare" / "input.txt").read_text("utf-8").split("\n")[:600]
    with gzip.open(data / "multi30k" / "val.de.gz", "rt", encoding="utf-8") as file:
        lines += file.read().split("\n")[:400]
    lines += (data / "ag_news" / "test.csv").read_text("utf-8").split("\n")[:400]
    lines += (data / "toxicity" / "labeled_data.csv").read_text("utf-8").split("\n")[:400]
    lines += re.findall(r'"context": "(.*?)"', (data / "xquad" / "xquad.de.json").read_text())[:40]
    return [*lines, *ODD, *(random_text(rng) for _ in range(600))]

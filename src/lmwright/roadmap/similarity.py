"""How much of a text stands in another: winnowed fingerprints of its tokens.

Schleimer, Wilkerson and Aiken 2003, *Winnowing: local algorithms for document fingerprinting*,
sections 3 and 4. Names are made equal first, so that renaming hides nothing. Of 60 right solutions
of the twenty labs, written without a look at production, the share found in it is 5 % at the median
and 42 % at most (norms, a few lines in all); of a copy under other names it is 100 %.
"""

import hashlib
import keyword
import re
from collections.abc import Iterable

TOKENS = 9
"""k: shorter runs of tokens than this are noise; two people write `for x in range(n):` alike."""
WINDOW = 4
"""w: a run of k + w - 1 = 12 equal tokens is always found."""

_TOKEN = re.compile(
    r'(?P<text>[rbfuRBFU]{0,2}(?:"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*'))|(?P<comment>#[^\n]*)|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|"
    r"(?P<sign>\*\*|//|->|==|!=|<=|>=|[^\s\w])"
)


def similarity(text: str, others: Iterable[str], common: Iterable[str] = ()) -> float:
    """The share of `text` that stands in one of `others` too.

    Args:
        text: Python, or something like it.
        others: what it may have been taken from.
        common: what everybody was given; it counts on neither side (section 4.2's base files).

    Returns:
        0 to 1; 0 too where `text` is shorter than what can be told apart.
    """
    given = set().union(*map(fingerprints, common))
    mine = fingerprints(text) - given
    theirs = set().union(*map(fingerprints, others))
    return len(mine & theirs) / len(mine) if mine else 0.0


def fingerprints(text: str) -> frozenset[int]:
    """The smallest hash of each window of `WINDOW` runs of `TOKENS` tokens."""
    tokens = normalised(text)
    hashes = [_hash(tokens[i : i + TOKENS]) for i in range(len(tokens) - TOKENS + 1)]
    windows = range(max(1, len(hashes) - WINDOW + 1)) if hashes else ()
    return frozenset(min(hashes[i : i + WINDOW]) for i in windows)


def normalised(text: str) -> list[str]:
    """Its tokens without comments; every name is `v`, every number `0`, every text `s`."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        kind, said = match.lastgroup, match.group()
        if kind == "comment" or (kind == "text" and said.lstrip("rbfuRBFU")[:3] in ('"""', "'''")):
            continue
        if kind == "name":
            tokens.append(said if keyword.iskeyword(said) else "v")
        else:
            tokens.append({"text": "s", "number": "0"}.get(kind or "", said))
    return tokens


def _hash(tokens: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(tokens).encode(), digest_size=8).digest())

"""Wrong byte-pair encodings, each with the idea that it misses."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from lmwright.roadmap.properties import Mutant
from lmwright.tokens.bpe import MIN_PAIR_COUNT, Pair


class _Simple:
    """Byte-pair encoding that counts all pairs anew for every merge, wrong in one place."""

    wrong = ""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = list(merges)

    @classmethod
    def train(cls, words: Mapping[bytes, int], vocab_size: int) -> "_Simple":
        """Merges of the most frequent pairs."""
        spelled = [[bytes([byte]) for byte in word] for word in words]
        times = [1 if cls.wrong == "kinds" else count for count in words.values()]
        ids = {bytes([byte]): byte for byte in range(256)}
        most = vocab_size - 256
        most += {"bytes not counted": 256, "one less": -1, "one more": 1}.get(cls.wrong, 0)
        merges: list[Pair] = []
        counts = cls._counts(spelled, times)
        while len(merges) < most:
            if cls.wrong != "counted once":
                counts = cls._counts(spelled, times)
            pair = cls._best(counts, ids)
            if pair is None:
                break
            merges.append(pair)
            ids[pair[0] + pair[1]] = len(ids)
            counts.pop(pair)
            spelled = [list(_joined(tokens, pair, cls.wrong)) for tokens in spelled]
        return cls(merges)

    @classmethod
    def _counts(cls, spelled: list[list[bytes]], times: list[int]) -> Counter[Pair]:
        counts: Counter[Pair] = Counter()
        last: bytes | None = None
        for tokens, count in zip(spelled, times, strict=True):
            if cls.wrong == "across words" and last is not None and tokens:
                counts[last, tokens[0]] += count
            before: Pair | None = None
            for pair in pairwise(tokens):
                again = pair == before and pair[0] == pair[1] and cls.wrong == "no overlap"
                counts[pair] += 0 if again else count
                before = None if again else pair
            last = tokens[-1] if tokens else last
        return counts

    @classmethod
    def _best(cls, counts: Counter[Pair], ids: Mapping[bytes, int]) -> Pair | None:
        least = {"once": 1, "three times": 3}.get(cls.wrong, MIN_PAIR_COUNT)
        pairs = [pair for pair, count in counts.items() if count >= least]
        if not pairs:
            return None
        if cls.wrong == "least frequent":
            return min(pairs, key=lambda p: (counts[p], ids[p[0]], ids[p[1]]))
        top = [pair for pair in pairs if counts[pair] == max(counts[p] for p in pairs)]
        if cls.wrong == "first seen":
            return top[0]
        if cls.wrong == "largest ids":
            return max(top, key=lambda p: (ids[p[0]], ids[p[1]]))
        if cls.wrong == "right id first":
            return min(top, key=lambda p: (ids[p[1]], ids[p[0]]))
        if cls.wrong == "by bytes":
            return min(top)
        return min(top, key=lambda p: (ids[p[0]], ids[p[1]]))

    def split(self, word: bytes) -> list[bytes]:
        """The tokens of a word."""
        tokens = [bytes([byte]) for byte in word]
        if self.wrong == "longest match":
            return list(self._longest(word))
        if self.wrong == "leftmost pair":
            known = set(self.merges)
            while places := [i for i, p in enumerate(pairwise(tokens)) if p in known]:
                first = places[0]
                tokens[first : first + 2] = [tokens[first] + tokens[first + 1]]
            return tokens
        order = self.merges[::-1] if self.wrong == "last first" else self.merges
        for pair in order:
            tokens = list(_joined(tokens, pair, self.wrong))
        return tokens

    def _longest(self, word: bytes) -> Iterator[bytes]:
        known, place = {left + right for left, right in self.merges}, 0
        while place < len(word):
            ends = range(len(word), place + 1, -1)
            end = next((e for e in ends if word[place:e] in known), place + 1)
            yield word[place:end]
            place = end


def _joined(tokens: list[bytes], pair: Pair, wrong: str) -> Iterator[bytes]:
    """The tokens with the pair as one."""
    if wrong == "from the right":
        turned = list(_joined(tokens[::-1], (pair[1], pair[0]), "turned"))
        yield from reversed(turned)
        return
    place, done = 0, 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair and not (wrong == "one place" and done):
            yield pair[1] + pair[0] if wrong == "turned" else pair[0] + pair[1]
            place, done = place + 2, done + 1
        else:
            yield tokens[place]
            place += 1


def _mutant(wrong: str, says: str) -> Mutant:
    return Mutant(says, type("BytePairs", (_Simple,), {"wrong": wrong}))


# What is learnt last stands first: a failure is told by the first that explains it, and these are
# right in everything before.
MUTANTS = (
    _mutant("bytes not counted", "a vocabulary that counts merges alone: the 256 bytes are in it"),
    _mutant("one less", "a vocabulary with one token less than it may have"),
    _mutant("one more", "a vocabulary with one token more than it may have"),
    _mutant("once", "merges of pairs that occur only once"),
    _mutant("three times", "merges of pairs that occur three times at least: two times are enough"),
    _mutant(
        "first seen", "merges that, of equally frequent pairs, take the one that was seen first"
    ),
    _mutant("largest ids", "merges that, of equally frequent pairs, take the largest ids"),
    _mutant("right id first", "merges that, of equally frequent pairs, compare the right id first"),
    _mutant(
        "by bytes",
        "merges that, of equally frequent pairs, take the first in the order of their bytes: a "
        "byte comes before every merged token",
    ),
    _mutant("counted once", "merges by the counts of the beginning: every merge changes them"),
    _mutant("no overlap", "counts in which aaa holds the pair a, a once: it stands there twice"),
    _mutant("kinds", "counts in which a word counts once, however often it occurs"),
    _mutant("across words", "counts of pairs that reach from one word into the next"),
    _mutant("least frequent", "merges of the rarest pairs first"),
    _mutant("last first", "a split that applies the merges learned last first"),
    _mutant("leftmost pair", "a split that merges whatever pair comes first in the word"),
    _mutant("longest match", "a split into the longest tokens that fit, from the left"),
    _mutant("one place", "merges that join a pair at one place alone"),
    _mutant("from the right", "merges that join aaa to a, aa: pairs are joined from the left"),
)

"""Byte-level byte-pair encoding, written out to be read.

Sennrich et al. 2016 (Neural Machine Translation of Rare Words with Subword Units, algorithm 1), on
bytes as Radford et al. 2019 (GPT-2, section 2.2). The `tokenizers` library does the same thirty
times faster, and is what learns vocabularies unless this is asked for: `--use
lmwright.tokens.bpe:BytePairs`.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

Pair: TypeAlias = tuple[bytes, bytes]
"""Two neighbouring tokens."""

# A merge seen only once says nothing about the next text.
MIN_PAIR_COUNT = 2


class BytePairs:
    """Pairs of neighbouring tokens that become one token, in the order in which they are learned.

    A token is the bytes that it stands for.

    Args:
        merges: the pairs, first learned first.

    Attributes:
        merges: the same.
    """

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = list(merges)
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}

    @classmethod
    def train(cls, words: Mapping[bytes, int], vocab_size: int) -> "BytePairs":
        """Learn merges: again and again the most frequent pair of neighbours becomes a token.

        Tokens have ids: a byte its value, then 256, 257, ... in the order in which they are made.
        Of pairs that are equally frequent the one with the smallest ids is merged, left id first.

        Args:
            words: how often each word occurs; no pair reaches over the end of a word.
            vocab_size: tokens to stop at, the 256 bytes among them.

        Returns:
            the merges; fewer than were asked for where no pair occurs `MIN_PAIR_COUNT` times.
        """
        ids = {bytes([byte]): byte for byte in range(256)}
        spellings = _Spellings(words, ids)
        merges: list[Pair] = []
        while len(ids) < vocab_size and (pair := spellings.most_frequent()):
            merges.append(pair)
            # The token is always new: the same bytes are never put together in two ways, since what
            # happens inside of them does not depend on their neighbours.
            ids[pair[0] + pair[1]] = len(ids)
            spellings.merge(pair)
        return cls(merges)

    def split(self, word: bytes) -> list[bytes]:
        """The tokens of a word: its bytes, after all merges that apply, first learned first.

        One pair is merged at a time: of those that stand in the word the one learned first, and
        where it stands twice, the left one.
        """
        tokens = [word[place : place + 1] for place in range(len(word))]
        while len(tokens) > 1:
            ranks = [self._rank.get(pair, math.inf) for pair in pairwise(tokens)]
            first = min(ranks)
            if first == math.inf:
                break
            place = ranks.index(first)
            tokens[place : place + 2] = [tokens[place] + tokens[place + 1]]
        return tokens


class _Spellings:
    """Words as the tokens they consist of so far, and how often each pair stands in them.

    Counting all pairs anew for every merge would read every word 2,000 times. A merge changes the
    few words that hold its pair: only their counts are taken back and added again.

    Args:
        words: how often each occurs.
        ids: of all tokens; who merges adds the new one before.
    """

    def __init__(self, words: Mapping[bytes, int], ids: Mapping[bytes, int]) -> None:
        self._ids = ids
        self._times = list(words.values())
        self._tokens = [[bytes([byte]) for byte in word] for word in words]
        self._counts: Counter[Pair] = Counter()
        self._words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        for number in range(len(self._tokens)):
            for pair in self._add(number):
                self._words_with[pair].add(number)
        self._queue = [self._entry(pair) for pair in self._counts]
        heapq.heapify(self._queue)

    def most_frequent(self) -> Pair | None:
        """The pair to merge next; None if none is frequent enough."""
        while self._queue:
            pair = self._queue[0][-1]
            now = self._entry(pair)
            if now == self._queue[0]:
                return pair if self._counts[pair] >= MIN_PAIR_COUNT else None
            # It has become rarer since it was queued, and is looked at again in its new place.
            heapq.heapreplace(self._queue, now)
        return None

    def merge(self, pair: Pair) -> None:
        """Write every occurrence of a pair as one token, from the left."""
        joined = pair[0] + pair[1]
        made: set[Pair] = set()
        for number in self._words_with.pop(pair):
            self._take(number)
            self._tokens[number] = list(_merged(self._tokens[number], pair, joined))
            for neighbours in self._add(number):
                if joined in neighbours:
                    made.add(neighbours)
                    self._words_with[neighbours].add(number)
        for neighbours in made:
            heapq.heappush(self._queue, self._entry(neighbours))

    def _entry(self, pair: Pair) -> tuple[int, int, int, Pair]:
        """Smallest for the pair that is merged first."""
        return -self._counts[pair], self._ids[pair[0]], self._ids[pair[1]], pair

    def _add(self, number: int) -> Iterator[Pair]:
        """Count a word's pairs; they are given back one by one."""
        times = self._times[number]
        for pair in pairwise(self._tokens[number]):
            self._counts[pair] += times
            yield pair

    def _take(self, number: int) -> None:
        """Take a word's pairs out of the counts."""
        times = self._times[number]
        for pair in pairwise(self._tokens[number]):
            self._counts[pair] -= times


def _merged(tokens: Sequence[bytes], pair: Pair, joined: bytes) -> Iterator[bytes]:
    """The tokens with each occurrence of the pair as one, from the left."""
    left, right = pair
    place, last = 0, len(tokens) - 1
    while place <= last:
        if place < last and tokens[place] == left and tokens[place + 1] == right:
            yield joined
            place += 2
        else:
            yield tokens[place]
            place += 1

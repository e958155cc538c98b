"""Items into few bins of equal size, for documents in rows.

A bin starts with the largest item left and takes, as long as any fits, the one or two that fill it
best: best-fit-decreasing bin packing (Johnson 1973; for language models, Ding et al. 2024, "Fewer
Truncations Improve Language Modeling") that looks two items ahead.
"""

from collections.abc import Iterator, Sequence

from lmwright.core.errors import LmwrightError

# Looking two documents ahead raises the fill of short rows: of 1,100 instructions in rows of 128
# from 0.938 to 0.986, of 60,000 questions and answers from 0.954 to 0.987. Longer rows are filled
# to 0.999 without it, and its cost grows with the number of different lengths.
LOOK_AHEAD_CAPACITY = 1024


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put items into few bins; 60,000 chats in rows of 256 take about 0.2 s.

    Args:
        lengths: size of each item, from 1 to `capacity`.
        capacity: size of a bin.

    Returns:
        for each bin, the indices of its items. Every index is in exactly one bin, and no two
        bins could be one.

    Raises:
        LmwrightError: if an item is longer than a bin, or shorter than 1.
    """
    if lengths and not 1 <= min(lengths) <= max(lengths) <= capacity:
        raise LmwrightError(
            f"documents of {min(lengths)} to {max(lengths)} tokens do not fit rows of {capacity}"
        )
    stock = _Stock(lengths, capacity)
    bins: list[list[int]] = []
    while longest := stock.longest(capacity):
        items, room = [], capacity
        while longest:
            items.append(stock.take(longest))
            room -= longest
            longest = stock.best(room)
        bins.append(items)
    return bins


class _Stock:
    """Items not yet placed, by length, with sets of lengths kept as the bits of one number."""

    def __init__(self, lengths: Sequence[int], capacity: int) -> None:
        self._capacity = capacity
        self._items: list[list[int]] = [[] for _ in range(capacity + 1)]
        for item, length in enumerate(lengths):
            self._items[length].append(item)
        self._present = sum(1 << length for length, items in enumerate(self._items) if items)
        self._mirrored = sum(1 << (capacity - length) for length in _bits(self._present))
        self._pair_sums = 0
        if capacity <= LOOK_AHEAD_CAPACITY:
            self._find_pairs()

    def take(self, length: int) -> int:
        """Remove one item of this length."""
        item = self._items[length].pop()
        if not self._items[length]:
            self._present ^= 1 << length
            self._mirrored ^= 1 << (self._capacity - length)
        return item

    def longest(self, room: int) -> int:
        """The longest length that fits; 0 if none does."""
        return max(0, (self._present & ((2 << room) - 1)).bit_length() - 1)

    def best(self, room: int) -> int:
        """The length to take next so that it, or it and one more, leave the least room."""
        single = self.longest(room)
        while single and single < room:
            pair = (self._pair_sums & ((2 << room) - 1)).bit_length() - 1
            if pair <= single:
                break
            # The lengths whose complement to `pair` is there too. Of these the most plentiful,
            # so that lengths run out evenly and the last rows still find what fits.
            firsts = self._present & (self._mirrored >> (self._capacity - pair))
            if firsts:
                return max(_bits(firsts), key=lambda length: (len(self._items[length]), length))
            # Lengths that have run out since the sums were found still count in them.
            self._find_pairs()
        return single

    def _find_pairs(self) -> None:
        """All sums of two lengths that fit a bin."""
        sums = 0
        for length in _bits(self._present):
            sums |= self._present << length
        self._pair_sums = sums & ((2 << self._capacity) - 1)


def _bits(number: int) -> Iterator[int]:
    """Places of the bits that are set, lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest

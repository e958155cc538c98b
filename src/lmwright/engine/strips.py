"""Keys and values of the sequences that are being continued, once more and side by side.

Blocks share prefixes and waste nothing, but PyTorch's attention wants one tensor. Gathering all
blocks anew for every token cost a third of a pass; here only a sequence that joins is gathered.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Strips grow by so many positions: all are copied once in so many passes.
GROWTH = 64


class Store(Protocol):
    """What one layer keeps."""

    exact: bool
    """Whether what is read is what was written, to the bit."""

    def read(self, slots: Tensor | slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values (n, Hkv, K) of these places."""


Content = tuple[int, tuple[int, ...]]
"""What a strip holds: so many positions of these blocks."""


@dataclass(frozen=True)
class Arrangement:
    """Which row of a pass has which strip, and what has to happen before they attend."""

    order: list[int]
    """Rows by strip: strip i is that of row order[i]."""
    moves: tuple[list[int], list[int]]
    """Strips that go from one place to another; no place is both."""
    joining: list[int]
    """Strips to be filled."""
    room: int
    """Positions of each strip."""


class Strips:
    """One strip for each sequence that the last pass continued by one token.

    What is in a strip is told by its blocks alone: a row goes on with a strip if that holds all its
    positions but the newest. So a strip outlives no pass that its row had no part in, for its
    blocks may have been written since.

    Args:
        positions: of the whole cache; strips take about twice as many at most.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self._known: dict[Content, int] = {}
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._room = 0

    def arrange(
        self, tables: Items[Items[int]], contexts: Items[int], block_size: int
    ) -> Arrangement | None:
        """Decide for one pass.

        Args:
            tables: blocks of each row that is continued by one token.
            contexts: positions of each once the pass is done.
            block_size: positions of a block.

        Returns:
            None where strips would take too much memory.
        """
        known, self._known = self._known, {}
        rows, room = len(tables), max(self._room, -(-max(contexts) // GROWTH) * GROWTH)
        if rows * room > 2 * self.positions + GROWTH * rows:
            self.clear()
            return None
        self._room = room
        strips = [
            known.pop(_content(table, context - 1, block_size), None)
            for table, context in zip(tables, contexts, strict=True)
        ]
        taken = {strip for strip in strips if strip is not None and strip < rows}
        free = iter([strip for strip in range(rows) if strip not in taken])
        order, joining = [0] * rows, []
        moves: tuple[list[int], list[int]] = ([], [])
        for row, strip in enumerate(strips):
            place = strip
            if place is None or place >= rows:
                place = next(free)
                if strip is None:
                    joining.append(place)
                else:
                    moves[0].append(strip)
                    moves[1].append(place)
            order[place] = row
            self._known[_content(tables[row], contexts[row], block_size)] = place
        return Arrangement(order, moves, joining, room)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self._layers.clear()
        self._room = 0

    def keys_and_values(
        self, layer: int, arrangement: Arrangement, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The layer's strips (B, Hkv, room, K), moved and grown; those that join are not filled.

        Args:
            layer: index of the layer.
            arrangement: of the pass.
            like: (..., Hkv, N, K) keys of the layer.
        """
        rows, room = len(arrangement.order), arrangement.room
        pair = self._layers.get(layer)
        if pair is None or len(pair[0]) < rows or pair[0].shape[2] < room:
            pair = self._layers[layer] = _grown(pair, rows, room, like)
        source, target = arrangement.moves
        if source:
            for part in pair:
                part[target] = part[source]
        return pair[0][:rows], pair[1][:rows]


def _content(table: Items[int], positions: int, block_size: int) -> Content:
    return positions, tuple(table[: -(-positions // block_size)])


def _grown(
    pair: tuple[Tensor, Tensor] | None, rows: int, room: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """More or longer strips, zeros where nothing was: a hidden place must not hold NaN."""
    places = rows if pair is None else max(rows, len(pair[0]))
    keys, values = (like.new_zeros(places, like.shape[-3], room, like.shape[-1]) for _ in range(2))
    if pair is not None:
        for new, old in zip((keys, values), pair, strict=True):
            new[: len(old), :, : old.shape[2]] = old
    return keys, values

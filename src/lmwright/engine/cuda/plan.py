"""Where the tokens of a pass go, and which program reads what: numbers made on the CPU, sent once.

Nothing here needs a GPU, nor waits for one.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmwright.engine.batch import Batch

# Queries of a chunk that share a program. A matrix unit takes 16 rows at least; with 64, keys are
# read a quarter as often, and the sums still fit the registers.
FEW_ROWS, MANY_ROWS = 16, 64
# Of one query's keys, at most.
MOST_SPLITS = 64


@dataclass(frozen=True)
class Tiling:
    """How many query rows a program has: a row is a token and one of a group's query heads.

    Args:
        group: query heads of a head of keys.
        row_bytes: of a query.
    """

    group: int
    row_bytes: int = 0

    @property
    def few(self) -> int:
        """Rows for sequences that are continued."""
        return max(FEW_ROWS, power_of_two(self.group))

    @property
    def many(self) -> int:
        """Rows for chunks of prompts."""
        # All queries of a program lie in its memory: 64 of 256 wide in float32 would be too much.
        rows = MANY_ROWS if self.row_bytes <= 512 else MANY_ROWS // 2
        return max(rows, power_of_two(self.group))


@dataclass(frozen=True)
class Sizes:
    """How many of everything a pass has: where its parts are in one array of numbers."""

    tokens: int
    logits: int
    few: int
    """Pieces of sequences with few queries."""
    many: int
    """Pieces of chunks."""
    sequences: int
    few_rows: int
    """Rows of a program for a piece of the former."""
    many_rows: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of token ids, positions, slots, logit rows, and the pieces of both kinds."""
        tokens = (self.tokens, self.tokens, self.tokens)
        return (*tokens, self.logits, 3 * self.few, 3 * self.many)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each of them begins, and last the block tables."""
        # Triton makes a kernel anew for addresses that are no multiples of 16 bytes.
        return tuple(itertools.accumulate(map(_aligned, self.lengths), initial=0))


@dataclass(frozen=True)
class Numbers:
    """A pass as one array: its parts in the order of the methods of `Inputs`."""

    sizes: Sizes
    values: NDArray[np.int32]


def power_of_two(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << (number - 1).bit_length()


def numbers_of(batch: Batch, tiling: Tiling, block_size: int) -> Numbers:
    """Everything the kernels ask about a pass.

    Args:
        batch: the pass.
        tiling: how queries are cut into pieces.
        block_size: positions of a block.
    """
    tables, positions = batch.block_tables.numpy(), batch.positions.numpy()
    starts = batch.query_starts.numpy()
    counts = np.diff(starts)
    owner = np.repeat(np.arange(len(counts)), counts)
    blocks = tables[owner, positions // block_size].astype(np.int64)
    slots = blocks * block_size + positions % block_size
    short = counts <= tiling.few // tiling.group
    few = _pieces(starts, np.flatnonzero(short), tiling.few // tiling.group)
    many = _pieces(starts, np.flatnonzero(~short), tiling.many // tiling.group)
    rows = batch.logit_rows.numpy()
    sizes = Sizes(
        tokens=len(positions),
        logits=len(rows),
        few=len(few),
        many=len(many),
        sequences=len(counts),
        few_rows=tiling.few,
        many_rows=tiling.many,
    )
    # Tables lie by block, not by sequence: the first so many blocks of all are one stretch.
    parts = (batch.token_ids.numpy(), positions, slots, rows, few, many, tables.T)
    values = np.zeros(sizes.starts[-1] + tables.size, np.int32)
    for start, part in zip(sizes.starts, parts, strict=True):
        values[start : start + part.size] = part.ravel()
    return Numbers(sizes, values)


def _aligned(length: int) -> int:
    """So many numbers, and those that make them whole pieces of 16 bytes."""
    return -(-length // 4) * 4


def _pieces(starts: NDArray[np.int32], rows: NDArray[np.intp], most: int) -> NDArray[np.int64]:
    """(P, 3): sequence, its first token, and the one after its last, `most` tokens at a time."""
    pieces = [
        (row, first, min(first + most, int(starts[row + 1])))
        for row in rows.tolist()
        for first in range(int(starts[row]), int(starts[row + 1]), most)
    ]
    return np.array(pieces, np.int64).reshape(-1, 3)


def splits_for(pieces: int, key_heads: int, processors: int) -> int:
    """Among how many programs a query's keys are shared out, so that no processor is idle.

    By numbers that a captured graph keeps, never by the length of a context. A power of two.

    Args:
        pieces: of the pass.
        key_heads: Hkv.
        processors: of the GPU (streaming multiprocessors).
    """
    # Two programs for each processor: while one waits for memory the other computes.
    idle = 2 * processors // max(1, pieces * key_heads)
    return min(MOST_SPLITS, power_of_two(idle + 1) // 2) if idle > 1 else 1


def padded(batch: Batch, size: int, spare_block: int) -> Batch:
    """A pass of B sequences with one token each, made up to `size` of them.

    Those that are added read and write the spare block alone, and nobody asks for their logits.

    Args:
        batch: B and L at most `size`.
        size: sequences, tokens and logits of the result.
        spare_block: a block that no sequence has.
    """
    more = size - len(batch.context_lengths)
    tables = torch.nn.functional.pad(batch.block_tables, (0, 0, 0, more))
    tables[size - more :, 0] = spare_block

    def filled(values: Tensor, length: int, value: int = 0) -> Tensor:
        return torch.nn.functional.pad(values, (0, length - len(values)), value=value)

    return Batch(
        token_ids=filled(batch.token_ids, size),
        positions=filled(batch.positions, size),
        query_starts=torch.arange(size + 1, dtype=torch.int32),
        context_lengths=filled(batch.context_lengths, size, 1),
        block_tables=tables,
        logit_rows=filled(batch.logit_rows, size),
    )

"""Passes that only continue sequences, recorded once for each size and played again.

A small model's pass is a few hundred kernels of some microseconds; launching them one by one from
Python takes longer than they run. A CUDA graph (CUDA C++ Programming Guide, "CUDA Graphs") launches
them all at once, always on the same memory: so batches are padded to a few sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.cuda.inputs import Inputs, Sender
from lmwright.engine.cuda.plan import Sizes, Tiling, numbers_of, padded

Compute = Callable[[Inputs], Tensor]
"""A pass's logits."""


class Capture(Protocol):
    """Turns work on fixed memory into work that can be done again, with its result's place."""

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]: ...


def sizes_up_to(most: int) -> list[int]:
    """Numbers of sequences that are recorded: 1, 2, 4, then multiples of 8.

    Args:
        most: sequences that may run at once; the last size holds them.
    """
    ladder = [1, 2, 4, *range(8, most + 8, 8)]
    return [size for size in ladder if size < most] + [next(s for s in ladder if s >= most)]


class OnCuda:
    """Records CUDA graphs that share one pool of memory.

    Sharing is safe because what one of them leaves is copied before another is played.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """See `Capture`."""
        # Twice without recording: kernels are compiled and libraries make their workspaces, which
        # must not happen inside.
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


def directly(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A `Capture` that records nothing: where there is no GPU, the work is done each time."""
    return work


@dataclass(frozen=True)
class Recorded:
    """One size.

    Args:
        place: what the work reads.
        replay: does it.
    """

    place: Tensor
    replay: Callable[[], Tensor]


class Graphs:
    """The recorded passes of one runner, each made when it is first needed.

    Args:
        compute: a pass's logits.
        capture: records it.
        sender: brings numbers to the device.
        most: sequences that may run at once.
        tiling: how queries are cut into pieces.
        block_size: positions of a block.
        spare_block: for rows that pad.
        longest_table: blocks of a sequence, at most.
    """

    def __init__(
        self,
        compute: Compute,
        capture: Capture,
        sender: Sender,
        *,
        most: int,
        tiling: Tiling,
        block_size: int,
        spare_block: int,
        longest_table: int,
    ) -> None:
        self._compute, self._capture, self._sender = compute, capture, sender
        self.sizes = sizes_up_to(most)
        self._tiling, self._block_size = tiling, block_size
        self._spare_block, self._longest_table = spare_block, longest_table
        self._recorded: dict[int, Recorded] = {}

    def size_for(self, batch: Batch) -> int | None:
        """The size that a pass is padded to; None: it is none of those that are recorded."""
        sequences, tokens = len(batch.context_lengths), len(batch.token_ids)
        fits = (
            tokens == sequences <= self.sizes[-1]
            and len(batch.logit_rows) <= sequences
            and batch.block_tables.shape[1] <= self._longest_table
        )
        return next(size for size in self.sizes if size >= sequences) if fits else None

    def run(self, batch: Batch, size: int) -> Tensor:
        """(L, V) logits of a pass that is padded to `size`."""
        whole = padded(batch, size, self._spare_block)
        numbers = numbers_of(whole, self._tiling, self._block_size)
        recorded = self._recorded.get(size)
        if recorded is None:
            place = torch.zeros(
                numbers.sizes.starts[-1] + size * self._longest_table,
                dtype=torch.int32,
                device=self._sender.device,
            )
            self._sender.send(numbers, place)
            recorded = self._recorded[size] = self._record(numbers.sizes, place)
        else:
            self._sender.send(numbers, recorded.place)
        # A copy: the next pass writes over the recorded place.
        return recorded.replay()[: len(batch.logit_rows)].clone()

    def _record(self, sizes: Sizes, place: Tensor) -> Recorded:
        inputs = Inputs(sizes, place)
        return Recorded(place, self._capture(lambda: self._compute(inputs)))

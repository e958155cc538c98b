"""What one forward pass computes, and who computes it."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """New tokens of some sequences, laid end to end: N tokens of B sequences, on the CPU.

    A sequence that is being read brings a chunk of its prompt, one that is being continued its
    last token (and drafts after it); all share the pass, and nothing is padded.

    Args:
        token_ids: (N,) int64.
        positions: (N,) int64, place of each token in its sequence, from 0.
        query_starts: (B + 1,) int32; sequence b owns tokens query_starts[b] : query_starts[b + 1].
        context_lengths: (B,) int32, tokens of each sequence in the cache once the pass is done.
        block_tables: (B, W) int32, each sequence's blocks by position; unused places are 0.
        logit_rows: (L,) int64, which of the N tokens' logits are wanted.
        adapters: (B,) name of each sequence's adapter; None: no sequence has one.
    """

    token_ids: Tensor
    positions: Tensor
    query_starts: Tensor
    context_lengths: Tensor
    block_tables: Tensor
    logit_rows: Tensor
    adapters: tuple[str | None, ...] | None = None


class Runner(Protocol):
    """Runs one model over keys and values that lie in blocks.

    The runner owns the storage of `num_blocks` blocks; which sequence owns which block is the
    scheduler's business.
    """

    block_size: int
    """Positions of a block."""
    num_blocks: int
    """Blocks of the pool, numbered from 0."""
    own_threads: bool
    """Whether it computes on threads of its own, and not on PyTorch's."""

    def forward(self, batch: Batch) -> Tensor:
        """Store the keys and values of all N tokens, attend, and score what comes next.

        Token i of sequence b sees positions 0 .. positions[i] of b, as its layers' rules allow.

        Returns:
            (L, V) float32 logits on the model's device, in the order of `batch.logit_rows`.
        """
        ...

    def describe(self) -> str:
        """One line for the log: what computes, in which precision, and why not faster."""
        ...

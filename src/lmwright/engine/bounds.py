"""How much an engine takes in, and how much of it runs at once."""

import heapq
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import TypedDict

from lmwright.core.errors import LmwrightError
from lmwright.engine.batch import Runner
from lmwright.engine.generation import MOST_DRAFTS, Generation
from lmwright.engine.opening import blocks_for, usual_blocks
from lmwright.engine.runner import PortableRunner
from lmwright.engine.sequence import Sequence
from lmwright.engine.speculation import Proposer
from lmwright.models.transformer import Decoder


class QueueFull(LmwrightError):
    """More requests wait than the engine accepts; try again when some have finished."""


# Tokens of one pass: enough to keep a machine busy, and its activations stay in tens of megabytes.
MAX_BATCH_TOKENS = 2048


class BoundsGiven(TypedDict, total=False):
    """The arguments of `Bounds` by their names, any of which may be left out."""

    max_sequences: int
    max_waiting: int
    max_waiting_tokens: int
    max_batch_tokens: int
    kv_blocks: int | None
    prefix_caching: bool
    speculation: Proposer | None
    most_drafts: int


@dataclass(frozen=True)
class Bounds:
    """The limits of one engine.

    Args:
        max_sequences: most sequences that run at once.
        max_waiting: most requests that `LLM.add` lets wait behind them.
        max_waiting_tokens: most tokens of their prompts, unless a single one has more.
        max_batch_tokens: most tokens of one pass.
        kv_blocks: blocks of keys and values; None: for `max_sequences` whole contexts, as far as
            there is memory. Where they run out, the last of the lowest priority waits again.
        prefix_caching: whether a beginning that prompts share is computed only once.
        speculation: guesses tokens that the model then only checks.
        most_drafts: most tokens that it guesses for a sequence at a time.

    Raises:
        LmwrightError: if one of them is not positive.
    """

    max_sequences: int = 32
    max_waiting: int = 1024
    max_waiting_tokens: int = 1_000_000
    max_batch_tokens: int = MAX_BATCH_TOKENS
    kv_blocks: int | None = None
    prefix_caching: bool = True
    speculation: Proposer | None = None
    most_drafts: int = MOST_DRAFTS

    def __post_init__(self) -> None:
        for name in ("max_sequences", "max_batch_tokens", "kv_blocks", "most_drafts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LmwrightError(f"{name}={value}: it must be at least 1")

    def generation(self, runner: Runner, *, prefix_caching: bool) -> Generation:
        """What runs sequences within these bounds, on a runner of its own."""
        return Generation(
            runner,
            max_sequences=self.max_sequences,
            max_batch_tokens=self.max_batch_tokens,
            prefix_caching=prefix_caching,
            proposer=self.speculation,
            most_drafts=self.most_drafts,
        )

    def live_generation(
        self, model: Decoder, sequences: Items[Sequence] | None = None
    ) -> Generation:
        """What runs sequences over weights that may change later, in a cache of its own.

        Args:
            model: whose weights are used as they are at each step.
            sequences: all that will run; the weights must not change until they are finished. None:
                unknown, and what one computes is no other's.
        """
        if self.kv_blocks is not None:
            blocks = self.kv_blocks
        elif sequences is None:
            blocks = usual_blocks(model, self.max_sequences, None)
        else:
            needs = [blocks_for(len(each.ids) + each.limit) for each in sequences]
            blocks = max(1, sum(heapq.nlargest(self.max_sequences, needs)))
        runner = PortableRunner(model, blocks, why="live weights")
        caching = sequences is not None and self.prefix_caching
        return self.generation(runner, prefix_caching=caching)

    def check_queue(self, waiting: Items[Sequence], tokens: int = 0) -> None:
        """Make sure that one more may wait.

        Args:
            waiting: those that do.
            tokens: of the one that wants to; it is let in behind nobody, whatever it has.

        Raises:
            QueueFull: if too many requests, or tokens of them, wait already.
        """
        if len(waiting) >= self.max_waiting:
            raise QueueFull(
                f"{self.max_waiting} requests are waiting already",
                hint="try again when some have finished, or raise max_waiting",
            )
        tokens_waiting = sum(len(sequence.ids) for sequence in waiting)
        if waiting and tokens_waiting + tokens > self.max_waiting_tokens:
            raise QueueFull(
                f"requests with {tokens_waiting} tokens are waiting already",
                hint="try again when some have finished, or raise max_waiting_tokens",
            )

"""Who runs, in which blocks, and who joins; nothing here computes.

How many tokens each brings to a pass is `planning`'s to say.
"""

import itertools
from bisect import insort
from collections.abc import Callable
from typing import NamedTuple

from lmwright.engine import planning
from lmwright.engine.blocks import BlockPool
from lmwright.engine.planning import Load
from lmwright.engine.sequence import Sequence


class Portion(NamedTuple):
    """What one sequence brings to a pass: its next tokens."""

    sequence: Sequence
    start: int
    """Tokens of it that were in the cache before."""
    tokens: int
    """Of `ids`, and drafts after them."""
    drafts: int = 0
    """The last so many of the tokens: guesses."""

    @property
    def end(self) -> int:
        """Tokens in the cache once the pass is done."""
        return self.start + self.tokens

    @property
    def chooses(self) -> bool:
        """Whether the next token is chosen: the pass computes all that is known."""
        return self.end - self.drafts == len(self.sequence.ids)


class Scheduler:
    """Continuous batching: sequences join and leave between passes.

    Args:
        pool: the blocks of the cache.
        max_sequences: most sequences that run at once.
        max_batch_tokens: most tokens of one pass.
        prefix_caching: whether a prompt's known beginning is taken from the cache.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_sequences: int,
        max_batch_tokens: int,
        prefix_caching: bool,
    ) -> None:
        self.pool = pool
        self.max_sequences = max_sequences
        self.max_batch_tokens = max_batch_tokens
        self.prefix_caching = prefix_caching
        # Both in order of rank: lower priorities first, then who came first.
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self._ranks: dict[Sequence, tuple[int, int]] = {}
        self._arrivals = itertools.count()
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence that fits the pool when it runs alone."""
        self._ranks[sequence] = (sequence.params.priority, next(self._arrivals))
        insort(self.waiting, sequence, key=self._rank)

    def find(self, request_id: int) -> Sequence | None:
        """The sequence of a request that waits or runs."""
        known = (s for s in self._ranks if s.request_id == request_id)
        return next(known, None)

    def remove(self, sequence: Sequence, *, forget: bool = False) -> None:
        """Let a sequence go, finished or not; its blocks are free at once.

        Args:
            sequence: that waits or runs.
            forget: whether what it computed must not be used again.
        """
        del self._ranks[sequence]
        if sequence in self.running:
            self.running.remove(sequence)
            self._release(sequence, forget=forget)
        else:
            self.waiting.remove(sequence)

    def plan(self, paced: Callable[[int], int | None] = lambda continued: None) -> list[Portion]:
        """What the next pass computes: every answer's next token first, then chunks of prompts.

        Args:
            paced: most tokens of prompts, by how many answers the pass continues; None: as many as
                the budget allows.

        Returns:
            Portions with their blocks reserved; nothing counts as computed until `commit`.
        """
        shares = planning.share_pass(
            [Load(s.remaining, s.computed, s.blocks, len(s.drafts)) for s in self.running],
            budget=self.max_batch_tokens,
            free=self.pool.free,
            block_size=self.pool.block_size,
            paced=paced,
        )
        for victim in reversed(self.running[shares.kept :]):
            self._preempt(victim)
        portions = [
            self._portion(sequence, tokens)
            for sequence, tokens in zip(self.running, shares.tokens, strict=False)
            if tokens
        ]
        portions.sort(key=lambda portion: portion.sequence.remaining > 1)  # answers come first
        return portions + self._admit(portions, shares.left)

    def commit(self, portion: Portion) -> None:
        """The pass is done, and the sequence has its new tokens: what it computed may be used."""
        sequence = portion.sequence
        sequence.drafts = []
        # Of the drafts, those that were not taken up are written over by the next pass.
        sequence.computed = min(portion.end, len(sequence.ids) - 1)
        if not self.prefix_caching:
            return
        size = self.pool.block_size
        known = sequence.computed // size
        hashes = sequence.hash_blocks(size, known)
        for index in range(portion.start // size, known):
            self.pool.register(sequence.blocks[index], hashes[index])

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests, after every operation."""
        self.pool.check()
        held: dict[int, int] = {}
        for sequence in self.running:
            for block in sequence.blocks:
                held[block] = held.get(block, 0) + 1
            positions = len(sequence.blocks) * self.pool.block_size
            assert sequence.computed <= positions, "tokens without blocks"
            assert sequence.remaining >= 1, "nothing left to compute"
            assert len(set(sequence.blocks)) == len(sequence.blocks), "one block, two places"
        assert held == self.pool.holders, "blocks that no running sequence holds, or too often"
        assert len(self.running) <= self.max_sequences, "too many run"
        for sequences in (self.running, self.waiting):
            ranks = [self._rank(sequence) for sequence in sequences]
            assert ranks == sorted(ranks), "out of order"
        for sequence in self.waiting:
            assert not sequence.blocks, "blocks while it waits"
            assert not sequence.computed, "computed while it waits"
        known = [*self.running, *self.waiting]
        assert len(known) == len(self._ranks), "a sequence is lost, or in two places"
        assert all(s.finish_reason is None for s in known), "finished"

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return self._ranks[sequence]

    def _portion(self, sequence: Sequence, tokens: int) -> Portion:
        """Give a running sequence blocks for its next tokens; there are enough."""
        wanted = self.pool.blocks_for(sequence.computed + tokens) - len(sequence.blocks)
        if wanted > 0:
            sequence.blocks += self.pool.allocate(wanted)
        drafts = tokens - 1 if sequence.remaining == 1 else 0
        return Portion(sequence, sequence.computed, tokens, drafts)

    def _preempt(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self.running.remove(sequence)
        self._release(sequence)
        insort(self.waiting, sequence, key=self._rank)

    def _release(self, sequence: Sequence, *, forget: bool = False) -> None:
        self.pool.release(sequence.blocks, forget=forget)
        sequence.blocks, sequence.computed, sequence.drafts = [], 0, []

    def _admit(self, planned: list[Portion], reading: int) -> list[Portion]:
        """Let sequences join while there are places, tokens, and blocks for all that they bring."""
        size = self.pool.block_size
        joined: list[Portion] = []
        if not reading or not self.waiting:
            return joined
        # Drafts that were not taken up may have left a sequence more blocks than it needs yet.
        promised = sum(
            max(0, self.pool.blocks_for(len(s.ids) + 1) - len(s.blocks)) for s in self.running
        )
        coming = {value for portion in planned for value in self._coming_of(portion)}
        for sequence in list(self.waiting):
            if not reading or len(self.running) >= self.max_sequences:
                break
            hit = self._known_beginning(sequence)
            # Another one is computing what comes next: after that, it need not be computed twice.
            if coming and self._next_hash(sequence, len(hit)) in coming:
                continue
            wanted = self.pool.blocks_for(len(sequence.ids) + 1) - len(hit)
            if self.running and wanted > self.pool.free - self.pool.idle(hit) - promised:
                break
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=self._rank)
            self.pool.take(hit)
            sequence.blocks, sequence.computed = list(hit), len(hit) * size
            if self.prefix_caching:
                self.prefix_queries += len(sequence.ids)
                self.prefix_hits += sequence.computed
            joined.append(self._portion(sequence, min(sequence.remaining, reading)))
            promised += wanted - (len(sequence.blocks) - len(hit))
            reading -= joined[-1].tokens
            coming |= self._coming_of(joined[-1])
        return joined

    def _known_beginning(self, sequence: Sequence) -> list[int]:
        """Blocks with the beginning of its tokens; at least one token is left to compute."""
        if not self.prefix_caching or sequence.first_scored is not None:
            return []
        size = self.pool.block_size
        return self.pool.match(sequence.hash_blocks(size, (len(sequence.ids) - 1) // size))

    def _next_hash(self, sequence: Sequence, known: int) -> bytes | None:
        hashes = sequence.hashes[: (len(sequence.ids) - 1) // self.pool.block_size]
        if sequence.first_scored is not None or known >= len(hashes):
            return None
        return hashes[known]

    def _coming_of(self, portion: Portion) -> set[bytes]:
        """Hashes of the blocks that a portion fills."""
        if not self.prefix_caching or portion.tokens - portion.drafts <= 1:
            return set()
        size = self.pool.block_size
        full = (portion.end - portion.drafts) // size
        return set(portion.sequence.hash_blocks(size, full)[portion.start // size :])

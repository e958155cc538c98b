"""Who runs, with how many tokens, in which blocks; nothing here computes.

Continuous batching: Yu et al. 2022, Orca, section 3.1. Chunks of prompts beside answers that are
being continued: Agrawal et al. 2024, Sarathi-Serve, section 4. Preemption by recomputation: Kwon
et al. 2023, section 4.5.
"""

import itertools
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass

from lmwright.engine.blocks import BlockPool
from lmwright.engine.sequence import Sequence


@dataclass(frozen=True)
class Portion:
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
        plan = _Plan(self.max_batch_tokens)
        for sequence in [s for s in self.running if s.remaining == 1]:
            self._continue(sequence, plan)
        limit = paced(len(plan.portions))
        reading = plan.room if limit is None else min(plan.room, limit)
        for sequence in [s for s in self.running if s.remaining > 1]:
            if reading and sequence not in plan.preempted:
                reading -= self._read(sequence, plan, reading)
        if not plan.preempted:
            self._admit(plan, reading)
        return list(plan.portions.values())

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

    def _continue(self, sequence: Sequence, plan: "_Plan") -> None:
        """Plan an answer's next token, and its drafts as far as they cost nobody a block."""
        if not plan.room or sequence in plan.preempted:
            return
        if not self._reserve(sequence, sequence.computed + 1, plan):
            return
        spare = len(sequence.blocks) + self.pool.free
        positions = spare * self.pool.block_size - sequence.computed - 1
        drafts = max(0, min(len(sequence.drafts), plan.room - 1, positions))
        self._reserve(sequence, sequence.computed + 1 + drafts, plan)
        plan.put(Portion(sequence, sequence.computed, 1 + drafts, drafts))

    def _read(self, sequence: Sequence, plan: "_Plan", most: int) -> int:
        """Plan a prompt's next chunk; how many tokens that is."""
        tokens = min(sequence.remaining, most)
        if not self._reserve(sequence, sequence.computed + tokens, plan):
            return 0
        plan.put(Portion(sequence, sequence.computed, tokens))
        return tokens

    def _reserve(self, sequence: Sequence, positions: int, plan: "_Plan") -> bool:
        """Give a running sequence blocks, at the cost of those of lowest rank; False: its own."""
        wanted = self.pool.blocks_for(positions) - len(sequence.blocks)
        while wanted > self.pool.free:
            victim = self.running[-1]
            self._preempt(victim, plan)
            if victim is sequence:
                return False
        sequence.blocks += self.pool.allocate(max(wanted, 0))
        return True

    def _preempt(self, sequence: Sequence, plan: "_Plan") -> None:
        self.preemptions += 1
        plan.drop(sequence)
        self.running.remove(sequence)
        self._release(sequence)
        insort(self.waiting, sequence, key=self._rank)

    def _release(self, sequence: Sequence, *, forget: bool = False) -> None:
        self.pool.release(sequence.blocks, forget=forget)
        sequence.blocks, sequence.computed, sequence.drafts = [], 0, []

    def _admit(self, plan: "_Plan", reading: int) -> None:
        """Let sequences join while there are places, tokens, and blocks for all that they bring."""
        size = self.pool.block_size
        promised = sum(self.pool.blocks_for(len(s.ids) + 1) - len(s.blocks) for s in self.running)
        coming = self._coming(plan)
        for sequence in list(self.waiting):
            if not reading or len(self.running) >= self.max_sequences:
                return
            hit = self._known_beginning(sequence)
            # Another one is computing what comes next: after that, it need not be computed twice.
            if coming and self._next_hash(sequence, len(hit)) in coming:
                continue
            wanted = self.pool.blocks_for(len(sequence.ids) + 1) - len(hit)
            if self.running and wanted > self.pool.free - self.pool.idle(hit) - promised:
                return
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=self._rank)
            self.pool.take(hit)
            sequence.blocks, sequence.computed = list(hit), len(hit) * size
            if self.prefix_caching:
                self.prefix_queries += len(sequence.ids)
                self.prefix_hits += sequence.computed
            promised += wanted
            tokens = self._read(sequence, plan, reading)
            promised -= len(sequence.blocks) - len(hit)
            reading -= tokens
            coming |= self._coming_of(plan.portions.get(sequence))

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

    def _coming(self, plan: "_Plan") -> set[bytes]:
        """Hashes of the blocks that the pass fills."""
        coming: set[bytes] = set()
        for portion in plan.portions.values():
            coming |= self._coming_of(portion)
        return coming

    def _coming_of(self, portion: Portion | None) -> set[bytes]:
        if not self.prefix_caching or portion is None or portion.tokens - portion.drafts <= 1:
            return set()
        size = self.pool.block_size
        full = (portion.end - portion.drafts) // size
        return set(portion.sequence.hash_blocks(size, full)[portion.start // size :])


class _Plan:
    """A pass that is being planned."""

    def __init__(self, budget: int) -> None:
        self.room = budget
        self.portions: dict[Sequence, Portion] = {}
        self.preempted: set[Sequence] = set()

    def put(self, portion: Portion) -> None:
        self.portions[portion.sequence] = portion
        self.room -= portion.tokens

    def drop(self, sequence: Sequence) -> None:
        self.preempted.add(sequence)
        portion = self.portions.pop(sequence, None)
        if portion is not None:
            self.room += portion.tokens

"""Wrong pools, each with the idea that it misses."""

from collections.abc import Sequence as Items

from lmwright.engine.blocks import BlockPool
from lmwright.roadmap.properties import Mutant


class Floors(BlockPool):
    def blocks_for(self, positions: int) -> int:
        return positions // self.block_size


class OneMore(BlockPool):
    def blocks_for(self, positions: int) -> int:
        return positions // self.block_size + 1


class Leaks(BlockPool):
    """What was never known does not come back."""

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        super().release(blocks, forget=forget)
        self._plain.clear()

    @property
    def free(self) -> int:
        return len(self._plain) + len(self._known) + self.num_blocks - self._untouched


class NoCounts(BlockPool):
    """The first who lets go frees a block, whoever else holds it."""

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        held = [block for block in blocks if block in self._holders]
        self._holders.update(dict.fromkeys(held, 1))
        super().release(held, forget=forget)


class HoldsOnce(BlockPool):
    """Who takes a held block is not counted."""

    def take(self, blocks: Items[int]) -> None:
        super().take(blocks)
        self._holders.update(dict.fromkeys(blocks, 1))

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        super().release([b for b in blocks if b in self._holders], forget=forget)


class Holes(BlockPool):
    def match(self, hashes: Items[bytes]) -> list[int]:
        return [self._block_of[value] for value in hashes if value in self._block_of]


class LastWins(BlockPool):
    """A second block with a hash takes the first one's place."""

    def register(self, block: int, value: bytes) -> None:
        if block in self._hash_of:
            return
        first = self._block_of.pop(value, None)
        if first is not None:
            del self._hash_of[first]
            if self._known.pop(first, True) is None:
                self._plain.append(first)
        super().register(block, value)


class ForgetsAtOnce(BlockPool):
    """What nobody holds is no longer known."""

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        super().release(blocks, forget=forget)
        for block in self._known:
            del self._block_of[self._hash_of.pop(block)]
        self._plain += self._known
        self._known.clear()


class KnownIsNotFree(BlockPool):
    @property
    def free(self) -> int:
        return super().free - len(self._known)


class KeepsHashes(BlockPool):
    """A block that is given out again can still be found by what it held before."""

    def _next(self) -> int:
        if self._plain or self._untouched < self.num_blocks:
            return super()._next()
        return self._known.popitem(last=False)[0]


class StaysFree(BlockPool):
    """What is taken up by its hash stays among the free ones."""

    def take(self, blocks: Items[int]) -> None:
        known = dict.fromkeys(self._known)
        super().take(blocks)
        self._known.clear()
        self._known.update(known)


class KnownFirst(BlockPool):
    def _next(self) -> int:
        if not self._known:
            return super()._next()
        block, _ = self._known.popitem(last=False)
        del self._block_of[self._hash_of.pop(block)]
        return block


class NewestFirst(BlockPool):
    def _next(self) -> int:
        if self._known:
            self._known.move_to_end(next(reversed(self._known)), last=False)
        return super()._next()


class BeginningFirst(BlockPool):
    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        super().release(list(reversed(blocks)), forget=forget)


class NeverForgets(BlockPool):
    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        super().release(blocks)


class ForgetsAlone(BlockPool):
    """What others hold too is not forgotten."""

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        for block in reversed(blocks):
            super().release([block], forget=forget and self._holders[block] == 1)


MUTANTS = (
    Mutant("a pool whose `blocks_for` rounds down: a block that is begun counts", Floors),
    Mutant(
        "a pool whose `blocks_for` counts one more where positions fill blocks exactly", OneMore
    ),
    Mutant("a pool that loses blocks without a hash when they are released", Leaks),
    Mutant("a `match` that goes on after the first hash that is unknown", Holes),
    Mutant("a `register` in which a second block with a hash replaces the first", LastWins),
    Mutant("a pool that frees a shared block when the first of its holders lets it go", NoCounts),
    Mutant("a `take` that does not count a second holder", HoldsOnce),
    Mutant("a pool that forgets a block's hash as soon as nobody holds it", ForgetsAtOnce),
    Mutant(
        "a pool whose `free` leaves out blocks that are known and held by nobody", KnownIsNotFree
    ),
    Mutant("a pool whose block is found by its old hash after it was given out again", KeepsHashes),
    Mutant("a `take` that leaves the block among the free ones", StaysFree),
    Mutant("a pool that gives known blocks before those without a hash", KnownFirst),
    Mutant("a pool that forgets the most recently released block first", NewestFirst),
    Mutant("a pool that forgets the beginning of a prefix before its end", BeginningFirst),
    Mutant("a `release` that does not look at `forget`", NeverForgets),
    Mutant("a `release` that forgets a block only if nobody else holds it", ForgetsAlone),
)

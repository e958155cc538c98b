"""Blocks of the paged cache: who holds which, and which full ones hold a known prefix.

Paged attention: Kwon et al. 2023, section 4. A block's hash covers everything before it too, so
that equal hashes mean equal keys and values (section 4.4, shared prefixes).
"""

from array import array
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Sequence as Items
from hashlib import blake2b
from types import MappingProxyType

HASH_BYTES = 16  # no collisions by accident, and none that somebody could look for


def root_hash(adapter: str | None) -> bytes:
    """What the chain of hashes begins with: an adapter makes other keys and values."""
    return blake2b((adapter or "").encode(), digest_size=HASH_BYTES).digest()


def block_hash(before: bytes, token_ids: Items[int]) -> bytes:
    """Hash of a full block.

    Args:
        before: hash of the block before it, or the chain's root.
        token_ids: of the block.
    """
    return blake2b(before + array("q", token_ids).tobytes(), digest_size=HASH_BYTES).digest()


class BlockPool:
    """Reference counts, free blocks, and the prefixes that are known.

    A block that nobody holds any more keeps its hash until it is used again, and may be taken up
    by its hash until then. Free blocks are used in this order: those without a hash, the last one
    freed first (it is still in the processor's cache); those never used; those with a hash, least
    recently used first. So making a pool costs nothing, and memory is touched only as needed.

    Args:
        num_blocks: how many there are, numbered from 0.
        block_size: positions of a block.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._holders: dict[int, int] = {}
        self._plain: list[int] = []
        self._known: OrderedDict[int, None] = OrderedDict()
        self._untouched = 0  # no block from here on was ever given out
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """Blocks that `allocate` can give."""
        return self.num_blocks - len(self._holders)

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return len(self._holders)

    @property
    def holders(self) -> Mapping[int, int]:
        """How many hold each block that is held."""
        return MappingProxyType(self._holders)

    def blocks_for(self, positions: int) -> int:
        """How many blocks so many positions take."""
        return -(-positions // self.block_size)

    def match(self, hashes: Items[bytes]) -> list[int]:
        """The blocks of the longest known beginning of a chain; not taken yet."""
        blocks = []
        for value in hashes:
            block = self._block_of.get(value)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def idle(self, blocks: Items[int]) -> int:
        """How many of these blocks are free until somebody takes them."""
        return sum(block not in self._holders for block in blocks)

    def take(self, blocks: Items[int]) -> None:
        """Hold these known blocks too."""
        for block in blocks:
            assert block in self._hash_of, "a block without a hash has one holder"
            self._known.pop(block, None)
            self._holders[block] = self._holders.get(block, 0) + 1

    def allocate(self, count: int) -> list[int]:
        """Hold `count` blocks, at most `free`, whose content is of no use any more."""
        assert count <= self.free, "more blocks than are free"
        blocks = [self._next() for _ in range(count)]
        self._holders.update(dict.fromkeys(blocks, 1))
        return blocks

    def register(self, block: int, value: bytes) -> None:
        """Say that a held block is full now, and what its hash is.

        The first block with a hash is the known one; a second one stays its holder's alone.
        """
        assert block in self._holders, "nobody holds it"
        if value not in self._block_of and block not in self._hash_of:
            self._block_of[value] = block
            self._hash_of[block] = value

    def release(self, blocks: Items[int], *, forget: bool = False) -> None:
        """Let a sequence's blocks go, in its order.

        Args:
            blocks: held ones.
            forget: whether their content must not be taken up by anyone again.
        """
        # The end of a prefix is used again before its beginning, without which it is worth nothing.
        for block in reversed(blocks):
            if forget and block in self._hash_of:
                del self._block_of[self._hash_of.pop(block)]
            holders = self._holders[block] - 1
            if holders:
                self._holders[block] = holders
                continue
            del self._holders[block]
            if block in self._hash_of:
                self._known[block] = None
            else:
                self._plain.append(block)

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests, after every operation."""
        parts = [set(self._holders), set(self._plain), set(self._known)]
        parts.append(set(range(self._untouched, self.num_blocks)))
        assert sum(map(len, parts)) == self.num_blocks, "a block is lost, or in two places"
        assert set().union(*parts) == set(range(self.num_blocks)), "no such block"
        assert len(self._plain) == len(parts[1]), "a block is free twice"
        assert all(count > 0 for count in self._holders.values()), "held by nobody"
        inverse = {value: block for block, value in self._hash_of.items()}
        assert inverse == self._block_of, "hashes and blocks differ"
        assert parts[2] <= self._hash_of.keys(), "a known block without a hash"
        assert not parts[1] & self._hash_of.keys(), "a plain block with a hash"
        assert all(block < self._untouched for block in self._hash_of), "never used, but known"

    def _next(self) -> int:
        if self._plain:
            return self._plain.pop()
        if self._untouched < self.num_blocks:
            self._untouched += 1
            return self._untouched - 1
        block, _ = self._known.popitem(last=False)
        del self._block_of[self._hash_of.pop(block)]
        return block

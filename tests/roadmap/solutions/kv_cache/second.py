"""One record for each block, and a clock."""

from dataclasses import dataclass

REPLACES = "lmwright.engine.blocks:BlockPool"


@dataclass
class Block:
    holders: int = 0
    value: bytes | None = None
    released: int = -1


class BlockPool:
    def __init__(self, num_blocks, block_size):
        self.num_blocks, self.block_size = num_blocks, block_size
        self.blocks = [Block() for _ in range(num_blocks)]
        self.clock = 0

    @property
    def free(self):
        return sum(block.holders == 0 for block in self.blocks)

    @property
    def used(self):
        return self.num_blocks - self.free

    @property
    def holders(self):
        return {n: block.holders for n, block in enumerate(self.blocks) if block.holders}

    def blocks_for(self, positions):
        whole, rest = divmod(positions, self.block_size)
        return whole + (rest > 0)

    def match(self, hashes):
        known = {block.value: n for n, block in enumerate(self.blocks) if block.value is not None}
        found = []
        for value in hashes:
            if value not in known:
                break
            found.append(known[value])
        return found

    def idle(self, blocks):
        return sum(not self.blocks[n].holders for n in blocks)

    def take(self, blocks):
        for n in blocks:
            self.blocks[n].holders += 1

    def allocate(self, count):
        free = [n for n, block in enumerate(self.blocks) if not block.holders]
        # Unknown ones (False) before known ones, then by the time of their release.
        free.sort(key=lambda n: (self.blocks[n].value is not None, self.blocks[n].released))
        for n in free[:count]:
            self.blocks[n] = Block(holders=1)
        return free[:count]

    def register(self, block, value):
        if self.blocks[block].value is None and all(b.value != value for b in self.blocks):
            self.blocks[block].value = value

    def release(self, blocks, *, forget=False):
        for n in blocks[::-1]:
            self.clock += 1
            self.blocks[n].holders -= 1
            self.blocks[n].released = self.clock
            if forget:
                self.blocks[n].value = None

    def check(self):
        pass

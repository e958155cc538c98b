"""Dicts that keep their order."""

REPLACES = "lmwright.engine.blocks:BlockPool"


class BlockPool:
    def __init__(self, num_blocks, block_size):
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.unknown = list(range(num_blocks))
        self.known = {}
        self.count = {}
        self.hash_of = {}
        self.block_of = {}

    @property
    def free(self):
        return len(self.unknown) + len(self.known)

    @property
    def used(self):
        return len(self.count)

    @property
    def holders(self):
        return dict(self.count)

    def blocks_for(self, positions):
        return (positions + self.block_size - 1) // self.block_size

    def match(self, hashes):
        found = []
        for value in hashes:
            if value not in self.block_of:
                return found
            found.append(self.block_of[value])
        return found

    def idle(self, blocks):
        return len([block for block in blocks if block not in self.count])

    def take(self, blocks):
        for block in blocks:
            self.known.pop(block, None)
            self.count[block] = self.count.get(block, 0) + 1

    def allocate(self, count):
        return [self.give() for _ in range(count)]

    def give(self):
        if self.unknown:
            block = self.unknown.pop()
        else:
            block = self.choose()
            del self.known[block]
            self.drop(block)
        self.count[block] = 1
        return block

    def choose(self):
        return next(iter(self.known))

    def drop(self, block):
        del self.block_of[self.hash_of.pop(block)]

    def register(self, block, value):
        if block not in self.hash_of and value not in self.block_of:
            self.hash_of[block] = value
            self.block_of[value] = block

    def release(self, blocks, *, forget=False):
        for block in reversed(blocks):
            if forget and block in self.hash_of:
                self.drop(block)
            self.count[block] -= 1
            if self.count[block] == 0:
                del self.count[block]
                if block in self.hash_of:
                    self.known[block] = True
                else:
                    self.unknown.append(block)

    def check(self):
        assert self.free + self.used == self.num_blocks


class FrequencyPool(BlockPool):
    def __init__(self, num_blocks, block_size):
        super().__init__(num_blocks, block_size)
        self.times = [0] * num_blocks

    def take(self, blocks):
        super().take(blocks)
        for block in blocks:
            self.times[block] += 1

    def give(self):
        block = super().give()
        self.times[block] = 0
        return block

    def choose(self):
        return min(self.known, key=lambda block: self.times[block])


class ForgetfulPool(BlockPool):
    def __init__(self, num_blocks, block_size, most_known):
        super().__init__(num_blocks, block_size)
        self.most_known = most_known

    def release(self, blocks, *, forget=False):
        super().release(blocks, forget=forget)
        while len(self.known) > self.most_known:
            block = self.choose()
            del self.known[block]
            self.drop(block)
            self.unknown.append(block)


class CountingPool(BlockPool):
    evicted = 0

    def choose(self):
        self.evicted += 1
        return super().choose()

"""Collections from the standard library."""

from collections import Counter, OrderedDict, deque

REPLACES = "lmwright.engine.blocks:BlockPool"


class BlockPool:
    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.held = Counter()
        self.queue = deque(range(num_blocks))
        self.waiting = OrderedDict()  # block -> None, the oldest release first
        self.names = {}  # hash -> block

    free = property(lambda self: self.num_blocks - len(self.held))
    used = property(lambda self: len(self.held))
    holders = property(lambda self: self.held)

    def blocks_for(self, positions):
        return -(-positions // self.block_size)

    def match(self, hashes):
        blocks = []
        for value in hashes:
            block = self.names.get(value, -1)
            if block < 0:
                break
            blocks.append(block)
        return blocks

    def idle(self, blocks):
        return sum(1 for block in blocks if self.held[block] == 0) if blocks else 0

    def take(self, blocks):
        for block in blocks:
            self.held[block] += 1
            if block in self.waiting:
                del self.waiting[block]

    def allocate(self, count):
        given = []
        while len(given) < count:
            if self.queue:
                given.append(self.queue.popleft())
            else:
                block, _ = self.waiting.popitem(last=False)
                self.forget(block)
                given.append(block)
        self.held.update(given)
        return given

    def forget(self, block):
        self.names = {value: other for value, other in self.names.items() if other != block}

    def register(self, block, value):
        if block not in self.names.values():
            self.names.setdefault(value, block)

    def release(self, blocks, *, forget=False):
        for block in reversed(list(blocks)):
            if forget:
                self.forget(block)
            self.held[block] -= 1
            if not self.held[block]:
                del self.held[block]
                if block in self.names.values():
                    self.waiting[block] = None
                else:
                    self.queue.append(block)

    def check(self):
        assert not set(self.queue) & set(self.held)

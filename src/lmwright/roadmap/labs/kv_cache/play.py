"""A pool in use: requests that come, grow and go, and what would lie in its blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lmwright.engine.blocks import block_hash, root_hash

Tokens = tuple[int, ...]
Step = tuple[str, Any]
"""("begin", tokens): a request comes, its known beginning is shared; ("apart", tokens): one that
shares nothing; ("grow", (n, tokens)): the n-th running one goes on; ("end", n), ("fail", n): it
ends, well or not; ("find", tokens): how much of a text is known; ("torn", tokens): the same of one
whose chain of hashes has an unknown one in its middle."""


@dataclass
class Running:
    """A request that holds blocks."""

    tokens: list[int]
    blocks: list[int] = field(default_factory=list)


class Play:
    """A pool, what would lie in its blocks, and who holds them."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.size = pool, pool.block_size
        self.content: dict[int, Tokens] = {}
        self.running: list[Running] = []
        self.problem = ""

    def step(self, name: str, detail: Any) -> dict[str, Any]:
        """Do one step of a script; what is seen after it."""
        known = 0
        if name in ("begin", "apart"):
            known = self.begin(list(detail), shares=name == "begin")
        elif name == "find":
            known = len(self.found(detail))
        elif name == "torn":
            chain = list(self.hashes(detail))
            chain[len(chain) // 2 : len(chain) // 2 + 1] = [b"unknown"]
            known = len(self.pool.match(chain))
        elif name == "grow" and self.running:
            place, more = detail
            self.grow(self.running[place % len(self.running)], more)
        elif name in ("end", "fail") and self.running:
            request = self.running.pop(detail % len(self.running))
            if name == "fail":
                self.pool.release(request.blocks, forget=True)
            else:
                self.pool.release(request.blocks)
        return {"step": name, "known blocks": known, **self.seen()}

    def begin(self, tokens: list[int], *, shares: bool) -> int:
        # At least one token is left to compute: its scores are wanted.
        hit = self.found(tuple(tokens[:-1])) if shares else []
        wanted = self.pool.blocks_for(len(tokens)) - len(hit)
        if wanted > self.pool.free - self.pool.idle(hit):
            return -1  # no room: it would have to wait
        self.pool.take(hit)
        request = Running(tokens, list(hit))
        self.running.append(request)
        self.fill(request, wanted)
        return len(hit)

    def grow(self, request: Running, more: Tokens) -> None:
        wanted = self.pool.blocks_for(len(request.tokens) + len(more)) - len(request.blocks)
        if wanted <= self.pool.free:
            request.tokens += more
            self.fill(request, max(wanted, 0))

    def fill(self, request: Running, wanted: int) -> None:
        given = self.pool.allocate(wanted)
        held = {block for other in self.running for block in other.blocks}
        inside = all(0 <= block < self.pool.num_blocks for block in given)
        if len(set(given)) != wanted or set(given) & held or not inside:
            self.problem = "a block was given that is held already, or is none of the pool's"
        request.blocks += given
        for place, value in enumerate(self.hashes(request.tokens)):
            block = request.blocks[place]
            self.content[block] = tuple(request.tokens[: (place + 1) * self.size])
            self.pool.register(block, value)
        if len(request.tokens) % self.size:
            self.content[request.blocks[-1]] = tuple(request.tokens)

    def found(self, tokens: Tokens) -> list[int]:
        blocks: list[int] = list(self.pool.match(list(self.hashes(tokens))))
        for place, block in enumerate(blocks):
            if self.content.get(block) != tuple(tokens[: (place + 1) * self.size]):
                self.problem = "a block was found that holds something else"
        return blocks

    def hashes(self, tokens: Any) -> Iterator[bytes]:
        before = root_hash(None)
        for end in range(self.size, len(tokens) + 1, self.size):
            before = block_hash(before, tokens[end - self.size : end])
            yield before

    def seen(self) -> dict[str, Any]:
        holders = dict(self.pool.holders)
        expected: dict[int, int] = {}
        for block in (block for request in self.running for block in request.blocks):
            expected[block] = expected.get(block, 0) + 1
        if holders != expected:
            self.problem = self.problem or "the holders are not those who took and did not release"
        return {
            "free": self.pool.free,
            "used": self.pool.used,
            "held by": sorted(holders.values()),
            "problem": self.problem,
        }

"""The books in a class of their own."""

import math

from lmwright.engine.planning import Shares

REPLACES = "lmwright.engine.planning:share_pass"


class Books:
    def __init__(self, running, budget, free, size):
        self.running, self.room, self.free, self.size = list(running), budget, free, size
        self.seats = [{"tokens": 0, "new": 0} for _ in running]
        self.kept = len(self.running)

    def capacity(self, place):
        one = self.running[place]
        return (len(one.blocks) + self.seats[place]["new"]) * self.size - one.computed

    def evict_last(self):
        self.kept -= 1
        seat, one = self.seats[self.kept], self.running[self.kept]
        still = set().union(*[other.blocks for other in self.running[: self.kept]])
        self.free += seat["new"] + len(set(one.blocks) - still)
        self.room += seat["tokens"]
        seat["tokens"] = seat["new"] = 0

    def give(self, place, more):
        """`more` tokens on top of what it has."""
        seat = self.seats[place]
        missing = seat["tokens"] + more - self.capacity(place)
        blocks = max(0, math.ceil(missing / self.size))
        while self.free < blocks:
            self.evict_last()
            if self.kept == place:
                return 0
        self.free -= blocks
        seat["new"] += blocks
        seat["tokens"] += more
        self.room -= more
        return more


def share_pass(running, *, budget, free, block_size, paced):
    books = Books(running, budget, free, block_size)
    for place in range(len(running)):
        if place >= books.kept or running[place].remaining > 1 or not books.room:
            continue
        if books.give(place, 1):
            spare = books.capacity(place) - 1 + books.free * block_size
            books.give(place, max(0, min(running[place].drafts, books.room, spare)))
    limit = paced(sum(1 for seat in books.seats if seat["tokens"]))
    left = books.room if limit is None else min(limit, books.room)
    for place in range(len(running)):
        if place < books.kept and running[place].remaining > 1 and left:
            left -= books.give(place, min(left, running[place].remaining))
    if books.kept < len(running):
        left = 0
    return Shares([seat["tokens"] for seat in books.seats], books.kept, left)

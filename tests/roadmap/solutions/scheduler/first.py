"""An inner function for blocks."""

from lmwright.engine.planning import Shares

REPLACES = "lmwright.engine.planning:share_pass"


def share_pass(running, *, budget, free, block_size, paced):
    tokens = [0 for _ in running]
    new = [0 for _ in running]
    alive = list(range(len(running)))

    def blocks(i, count):
        nonlocal free
        positions = running[i].computed + count
        need = (positions + block_size - 1) // block_size - len(running[i].blocks) - new[i]
        need = max(need, 0)
        while need > free:
            victim = alive.pop()
            others = [b for j in alive for b in running[j].blocks]
            free += new[victim] + len([b for b in running[victim].blocks if b not in others])
            new[victim] = tokens[victim] = 0
            if victim == i:
                return False
        free -= need
        new[i] += need
        return True

    for i, one in enumerate(running):
        if one.remaining != 1 or i not in alive:
            continue
        room = budget - sum(tokens)
        if room < 1 or not blocks(i, 1):
            continue
        room = budget - sum(tokens)
        tokens[i] = 1
        fits = (len(one.blocks) + new[i] + free) * block_size - one.computed
        more = min(one.drafts, room - 1, fits - 1)
        if more > 0:
            blocks(i, 1 + more)
            tokens[i] += more
    allowed = paced(len([t for t in tokens if t]))
    rest = budget - sum(tokens)
    if allowed is not None:
        rest = min(rest, allowed)
    for i, one in enumerate(running):
        chunk = min(one.remaining, rest)
        if one.remaining > 1 and i in alive and chunk and blocks(i, chunk):
            tokens[i] = chunk
            rest -= chunk
    return Shares(tokens, len(alive), rest if len(alive) == len(running) else 0)


def prompts_first(running, *, budget):
    tokens = {}
    for i, one in sorted(enumerate(running), key=lambda pair: pair[1].remaining == 1):
        tokens[i] = min(one.remaining, budget)
        budget -= tokens[i]
    return [tokens[i] for i in range(len(running))]


def share_fairly(running, *, budget):
    tokens = [0] * len(running)
    while budget:
        hungry = [i for i, one in enumerate(running) if tokens[i] < one.remaining][:budget]
        if not hungry:
            break
        for i in hungry:
            tokens[i] += 1
        budget -= len(hungry)
    return tokens


def shortest_first(running, *, budget):
    tokens = [0] * len(running)
    order = list(range(len(running)))
    order.sort(key=lambda i: running[i].remaining)
    for i in order:
        tokens[i] = min(running[i].remaining, budget)
        budget -= tokens[i]
    return tokens

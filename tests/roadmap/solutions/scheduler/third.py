"""Free blocks counted anew from all that is held."""

from lmwright.engine.planning import Shares

REPLACES = "lmwright.engine.planning:share_pass"


def share_pass(running, *, budget, free, block_size, paced):
    total = free + len({b for one in running for b in one.blocks})
    tokens, members = {}, list(range(len(running)))

    def size(i, count):
        whole = -(-(running[i].computed + count) // block_size)
        return max(whole - len(running[i].blocks), 0)

    def unused():
        held = {b for i in members for b in running[i].blocks}
        return total - len(held) - sum(size(i, n) for i, n in tokens.items())

    def fits(i, count):
        before = tokens.pop(i, 0)
        tokens[i] = count
        while unused() < 0:
            last = members.pop()
            tokens.pop(last, None)
            if last == i:
                return False
        assert before <= count
        return True

    def spent():
        return sum(tokens.values())

    for i, one in enumerate(running):
        if one.remaining == 1 and i in members and spent() < budget and fits(i, 1):
            for extra in range(1, one.drafts + 1):
                if spent() == budget or (size(i, 1 + extra) - size(i, tokens[i])) > unused():
                    break
                tokens[i] = 1 + extra
    rest = budget - spent()
    limit = paced(len(tokens))
    rest = rest if limit is None else min(rest, limit)
    for i, one in enumerate(running):
        n = min(rest, one.remaining)
        if one.remaining > 1 and i in members and n and fits(i, n):
            rest -= n
    everyone = len(members) == len(running)
    return Shares(
        [tokens.get(i, 0) for i in range(len(running))], len(members), rest if everyone else 0
    )

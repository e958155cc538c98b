import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.engine import paged_pass
from lmwright.engine.batch import Batch
from lmwright.engine.paged_cache import PagedCache
from lmwright.models.layers.attention import AttentionRule

LAYERS, HEADS, KEY_HEADS, SIZE = 2, 4, 2, 4
CPU = torch.device("cpu")


def slopes_by_key(queries, keys):
    """A bias like ALiBi's, by the key's position."""
    slopes = 0.1 * torch.arange(1, HEADS + 1)
    return slopes[None, :, None, None] * keys[:, None, None, :].float()


def by_distance(queries, keys):
    """A bias like T5's, by the distance of query and key."""
    distance = (queries[:, :, None] - keys[:, None, :]).float()
    return (
        0.1
        * torch.arange(1, HEADS + 1)[None, :, None, None]
        * distance.sqrt().nan_to_num()[:, None]
    )


RULES = {
    "plain": AttentionRule(),
    "window": AttentionRule(window=3),
    "soft cap": AttentionRule(soft_cap=0.5),
    "scale": AttentionRule(scale=1.7, window=4),
    "alibi": AttentionRule(bias=slopes_by_key),
    "relative": AttentionRule(bias=by_distance, window=5),
}


def expected(rule, query, position, keys, values):
    """(H, K) attention of one query (H, K) over (S, Hkv, K), in float64, term by term."""
    first = 0 if rule.window is None else max(0, position + 1 - rule.window)
    at = torch.arange(first, position + 1)
    scale = 1 / math.sqrt(SIZE) if rule.scale is None else rule.scale
    bias = torch.zeros(HEADS, len(at))
    if rule.bias is not None:
        bias = rule.bias(torch.tensor([[position]]), at[None])[0, :, 0]
    rows = []
    for head in range(HEADS):
        own = head // (HEADS // KEY_HEADS)
        scores = keys[at, own].double() @ query[head].double() * scale
        if rule.soft_cap is not None:
            scores = torch.tanh(scores / rule.soft_cap) * rule.soft_cap
        rows.append((scores + bias[head].double()).softmax(-1) @ values[at, own].double())
    return torch.stack(rows)


class Shadow:
    """What the cache should hold, sequence by sequence, and a table of blocks for each."""

    def __init__(self, num_blocks, block_size, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.block_size = block_size
        self.free = torch.randperm(num_blocks, generator=self.generator).tolist()
        self.tables, self.keys, self.values = {}, {}, {}

    def room(self, number, new):
        """Give a sequence blocks for so many new tokens, if there are any."""
        have = len(self.keys[0][number]) if number in self.tables else 0
        wanted = -(-(have + new) // self.block_size)
        table = self.tables.get(number, [])
        if wanted - len(table) > len(self.free):
            return False
        if number not in self.tables:
            self.tables[number] = table
            for layer in range(LAYERS):
                empty = torch.empty(0, KEY_HEADS, SIZE)
                self.keys.setdefault(layer, {})[number] = empty
                self.values.setdefault(layer, {})[number] = empty
        while len(table) < wanted:
            table.append(self.free.pop())
        return True

    def end(self, number):
        self.free += self.tables.pop(number)

    def batch(self, new):
        """A pass with so many new tokens of each of these sequences."""
        before = [len(self.keys[0][number]) for number in new]
        counts = list(new.values())
        width = max(len(self.tables[number]) for number in new)
        return Batch(
            token_ids=torch.zeros(sum(counts), dtype=torch.int64),
            positions=torch.cat(
                [torch.arange(b, b + n) for b, n in zip(before, counts, strict=True)]
            ),
            query_starts=torch.tensor([0, *counts]).cumsum(0).int(),
            context_lengths=torch.tensor(
                [b + n for b, n in zip(before, counts, strict=True)]
            ).int(),
            block_tables=torch.tensor(
                [[*self.tables[n], *[0] * (width - len(self.tables[n]))] for n in new]
            ).int(),
            logit_rows=torch.zeros(0, dtype=torch.int64),
        )

    def draw(self, heads, tokens):
        return torch.randn(1, heads, tokens, SIZE, generator=self.generator)


def run(cache, shadow, new, rule, tolerance=1e-5):
    """One pass, compared query by query."""
    batch, tokens = shadow.batch(new), sum(new.values())
    with cache.reading(batch, CPU):
        for layer in range(LAYERS):
            q, k, v = (shadow.draw(h, tokens) for h in (HEADS, KEY_HEADS, KEY_HEADS))
            out = cache.attend(layer, q, k, v, rule)
            assert out.shape == q.shape
            for number, start in zip(new, batch.query_starts.tolist(), strict=False):
                own = slice(start, start + new[number])
                for stored, more in ((shadow.keys, k), (shadow.values, v)):
                    added = more[0, :, own].transpose(0, 1)
                    stored[layer][number] = torch.cat([stored[layer][number], added])
                for token in range(own.start, own.stop):
                    wanted = expected(
                        rule,
                        q[0, :, token],
                        int(batch.positions[token]),
                        shadow.keys[layer][number],
                        shadow.values[layer][number],
                    )
                    difference = (out[0, :, token].double() - wanted).abs().max()
                    assert difference <= tolerance, (number, token)


PASSES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 4), st.sampled_from([1, 1, 2, 3, 5, 9]), min_size=1),
        st.sets(st.integers(0, 4), max_size=2),
    ),
    max_size=5,
)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=8, deadline=None)
@given(passes=PASSES, seed=st.integers(0, 2**31), block_size=st.integers(1, 4))
def test_every_query_sees_exactly_its_own_past(name, passes, seed, block_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged_pass, "FEW_QUERIES", 3)  # so that short prompts count as chunks
        shadow = Shadow(24, block_size, seed)
        cache = PagedCache(24, block_size)
        for wanted, ending in passes:
            new = {number: count for number, count in wanted.items() if shadow.room(number, count)}
            if new:
                run(cache, shadow, new, RULES[name])
            for number in ending & shadow.tables.keys():
                shadow.end(number)


@pytest.mark.parametrize("new", [{0: 1, 1: 1}, {0: 2, 1: 1, 2: 9}])
def test_what_another_sequence_left_behind_is_never_read(new):
    shadow = Shadow(8, 4, seed=0)
    cache = PagedCache(8, 4)
    everything = torch.full((1, KEY_HEADS, 32, SIZE), float("nan"))
    shadow.room(0, 32)
    with cache.reading(shadow.batch({0: 32}), CPU):
        for layer in range(LAYERS):
            cache.attend(layer, shadow.draw(HEADS, 32), everything, everything, AttentionRule())
    shadow = Shadow(8, 4, seed=1)
    for number, count in new.items():
        assert shadow.room(number, count)
    run(cache, shadow, new, AttentionRule())
    run(cache, shadow, dict.fromkeys(new, 1), AttentionRule(window=2))


def test_a_byte_for_each_value_is_close():
    torch.manual_seed(0)
    shadow, cache = Shadow(16, 4, seed=2), PagedCache(16, 4, stored="int8")
    for new in ({0: 9, 1: 4}, {0: 1, 1: 1}, {1: 2, 0: 1}):
        assert all(shadow.room(number, count) for number, count in new.items())
        run(cache, shadow, new, AttentionRule(), tolerance=0.05)


def test_an_unused_cache_costs_nothing():
    cache = PagedCache(4_000_000, 16)  # 4 GiB for each of the two layers
    shadow = Shadow(4, 16, seed=3)
    shadow.room(0, 5)
    run(cache, shadow, {0: 5}, AttentionRule())

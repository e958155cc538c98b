import contextlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.engine import cache as cache_module
from lmwright.engine.cache import KVCache
from lmwright.models.layers.attention import AttentionRule

LAYERS, HEADS, KEY_HEADS, SIZE = 2, 4, 2, 4
CPU = torch.device("cpu")


class Shadow:
    """What the cache should hold: per layer and row, lists of keys and values; slow and plain."""

    def __init__(self) -> None:
        self.rows: list[list[tuple[torch.Tensor, torch.Tensor]]] = []

    def attend(self, row: int, layer: int, query: torch.Tensor, position: int, window: int | None):
        """(H, K) softmax attention of one query over the row's own positions, in float64."""
        keys, values = (part.double() for part in self.rows[row][layer])
        first = 0 if window is None else max(0, position + 1 - window)
        result = []
        for head in range(HEADS):
            own = head // (HEADS // KEY_HEADS)
            scores = keys[own, first : position + 1] @ query[head].double() / math.sqrt(SIZE)
            result.append(scores.softmax(-1) @ values[own, first : position + 1])
        return torch.stack(result)


def random_heads(generator, rows, length):
    def draw(heads):
        return torch.randn(rows, heads, length, SIZE, generator=generator)

    return draw(HEADS), draw(KEY_HEADS), draw(KEY_HEADS)


def join(cache, shadow, lengths, generator, rule):
    longest = max(lengths)
    first = len(cache)
    shadow.rows += [[] for _ in lengths]
    with cache.joining(lengths, CPU) as positions:
        assert positions.shape == (len(lengths), longest)
        for layer in range(LAYERS):
            q, k, v = random_heads(generator, len(lengths), longest)
            out = cache.attend(layer, q, k, v, rule)
            for row, length in enumerate(lengths):
                shadow.rows[first + row].append((k[row, :, :length], v[row, :, :length]))
                for t in range(length):
                    expected = shadow.attend(first + row, layer, q[row, :, t], t, rule.window)
                    torch.testing.assert_close(out[row, :, t].double(), expected, atol=1e-5, rtol=0)


def grow(cache, shadow, generator, rule):
    with cache.growing(CPU) as positions:
        assert positions[:, 0].tolist() == [rows[0][0].shape[1] for rows in shadow.rows]
        for layer in range(LAYERS):
            q, k, v = random_heads(generator, len(shadow.rows), 1)
            out = cache.attend(layer, q, k, v, rule)
            for row, layers in enumerate(shadow.rows):
                keys, values = layers[layer]
                layers[layer] = (torch.cat([keys, k[row]], 1), torch.cat([values, v[row]], 1))
                position = keys.shape[1]
                expected = shadow.attend(row, layer, q[row, :, 0], position, rule.window)
                torch.testing.assert_close(out[row, :, 0].double(), expected, atol=1e-5, rtol=0)


OPERATIONS = st.one_of(
    st.tuples(st.just("join"), st.lists(st.integers(1, 9), min_size=1, max_size=3)),
    st.tuples(st.just("grow"), st.integers(1, 4)),
    st.tuples(st.just("remove"), st.sets(st.integers(0, 9), max_size=4)),
)


@pytest.mark.parametrize("window", [None, 3])
@settings(max_examples=25, deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=8), seed=st.integers(0, 2**31))
def test_rows_attend_over_exactly_their_own_past(operations, seed, window):
    with pytest.MonkeyPatch.context() as patch:
        # Small rooms, so that growing is part of most examples.
        patch.setattr(cache_module, "FEWEST_POSITIONS", 4)
        patch.setattr(cache_module, "FEWEST_SLOTS", 1)
        generator = torch.Generator().manual_seed(seed)
        cache, shadow, rule = KVCache(), Shadow(), AttentionRule(window=window)
        for name, detail in operations:
            if name == "join":
                join(cache, shadow, detail, generator, rule)
            elif name == "grow" and len(cache):
                for _ in range(detail):
                    grow(cache, shadow, generator, rule)
            elif name == "remove":
                order = cache.remove({row for row in detail if row < len(cache)})
                shadow.rows = [shadow.rows[row] for row in order]
            cache.check()
            assert cache.lengths == [layers[0][0].shape[1] for layers in shadow.rows]


def test_a_pass_that_raised_leaves_the_cache_as_it_was():
    cache, shadow, rule = KVCache(), Shadow(), AttentionRule()
    generator = torch.Generator().manual_seed(0)
    join(cache, shadow, [5, 3], generator, rule)

    for under_way, rows, length in (
        (cache.growing(CPU), 2, 1),
        (cache.joining([70], CPU), 1, 70),
    ):
        with contextlib.suppress(RuntimeError), under_way:
            cache.attend(0, *random_heads(generator, rows, length), rule)
            raise RuntimeError("in the second layer")

    cache.check()
    assert cache.lengths == [5, 3]
    join(cache, shadow, [2], generator, rule)
    grow(cache, shadow, generator, rule)
    cache.check()


def test_what_a_row_left_behind_cannot_reach_the_next_owner_of_its_slot():
    cache, shadow, rule = KVCache(), Shadow(), AttentionRule()
    generator = torch.Generator().manual_seed(0)
    with cache.joining([20], CPU):
        for layer in range(LAYERS):
            q, k, v = random_heads(generator, 1, 20)
            cache.attend(layer, q, k * float("nan"), v * float("nan"), rule)
    cache.wipe([0])
    cache.remove([0])

    join(cache, shadow, [2, 10], generator, rule)
    grow(cache, shadow, generator, rule)

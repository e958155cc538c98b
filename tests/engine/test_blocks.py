import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.engine.blocks import BlockPool, block_hash, root_hash


def chain(tokens, size, adapter=None):
    hashes, before = [], root_hash(adapter)
    for start in range(0, len(tokens) - size + 1, size):
        before = block_hash(before, tokens[start : start + size])
        hashes.append(before)
    return hashes


def test_a_hash_tells_all_that_came_before_and_the_adapter():
    ids = [1, 2, 3, 4, 5, 6]
    assert chain(ids, 2) == chain([*ids, 7], 2)
    assert chain(ids, 2)[:1] == chain([1, 2, 9, 9], 2)[:1]
    changed = chain([9, *ids[1:]], 2)
    assert not set(chain(ids, 2)) & set(changed)
    assert not set(chain(ids, 2)) & set(chain(ids, 2, adapter="lora"))
    assert len({*chain([1, 1, 1, 1], 1), *chain([11, 1], 1)}) == 6


def test_the_least_recently_used_prefix_is_forgotten_first_and_its_end_before_its_beginning():
    pool = BlockPool(4, 2)
    old, new = pool.allocate(2), pool.allocate(2)
    for block, value in zip(
        [*old, *new], chain([1, 2, 3, 4], 2) + chain([5, 6, 7, 8], 2), strict=True
    ):
        pool.register(block, value)
    pool.release(old)
    pool.release(new)
    assert pool.free == 4

    pool.allocate(1)
    assert pool.match(chain([1, 2, 3, 4], 2)) == old[:1]
    pool.take(old[:1])
    pool.release(old[:1])  # now the most recently used
    pool.allocate(2)
    assert pool.match(chain([5, 6, 7, 8], 2)) == []
    assert pool.match(chain([1, 2, 3, 4], 2)) == old[:1]
    pool.check()


def test_what_was_forgotten_is_not_found_again():
    pool = BlockPool(2, 2)
    blocks = pool.allocate(2)
    values = chain([1, 2, 3, 4], 2)
    for block, value in zip(blocks, values, strict=True):
        pool.register(block, value)
    pool.take(blocks)
    pool.release(blocks, forget=True)
    assert pool.match(values) == []
    pool.release(blocks)
    assert pool.free == 2
    pool.check()


def test_more_than_there_is_is_refused():
    pool = BlockPool(2, 2)
    with pytest.raises(AssertionError, match="more blocks"):
        pool.allocate(3)


PROMPT = st.lists(st.integers(0, 1), min_size=1, max_size=9)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), PROMPT),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS, num_blocks=st.integers(1, 7))
def test_known_blocks_hold_what_their_hash_says(operations, num_blocks):
    size = 2
    pool = BlockPool(num_blocks, size)
    content: dict[int, tuple[int, ...]] = {}  # what a block would hold: all tokens up to its end
    running: list[list[int]] = []
    for name, detail in operations:
        if name == "begin":
            hashes = chain(detail, size)
            hit = pool.match(hashes)
            for place, block in enumerate(hit):
                assert content[block] == tuple(detail[: (place + 1) * size])
            wanted = pool.blocks_for(len(detail)) - len(hit)
            if wanted <= pool.free - pool.idle(hit):
                pool.take(hit)
                blocks = hit + pool.allocate(wanted)
                for place in range(len(hit), len(blocks)):
                    content[blocks[place]] = tuple(detail[: (place + 1) * size])
                for place in range(len(hit), len(hashes)):
                    pool.register(blocks[place], hashes[place])
                running.append(blocks)
        elif running:
            pool.release(running.pop(detail % len(running)), forget=name == "fail")
        pool.check()
        held = [block for blocks in running for block in blocks]
        assert pool.used == len(set(held))
        assert all(pool.holders[block] == held.count(block) for block in held)
    for blocks in running:
        pool.release(blocks)
    pool.check()
    assert pool.free == num_blocks

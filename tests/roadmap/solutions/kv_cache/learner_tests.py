from mine.kv_cache import BlockPool


def filled(pool, values):
    blocks = pool.allocate(len(values))
    for block, value in zip(blocks, values, strict=True):
        pool.register(block, value)
    return blocks


def test_blocks_for_rounds_up():
    assert [BlockPool(9, 4).blocks_for(n) for n in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


def test_all_come_back():
    pool = BlockPool(4, 2)
    blocks = pool.allocate(3)
    assert (pool.free, pool.used) == (1, 3)
    pool.release(blocks)
    assert pool.free == 4
    assert sorted(pool.allocate(4)) == [0, 1, 2, 3]


def test_the_longest_beginning_is_found():
    pool = BlockPool(4, 2)
    a, b = filled(pool, [b"a", b"b"])
    assert pool.match([b"a", b"b", b"c"]) == [a, b]
    assert pool.match([b"a", b"x", b"b"]) == [a]


def test_the_first_block_of_a_hash_is_found():
    pool = BlockPool(4, 2)
    (first,) = filled(pool, [b"a"])
    filled(pool, [b"a"])
    assert pool.match([b"a"]) == [first]


def test_a_shared_block_has_two_holders():
    pool = BlockPool(4, 2)
    blocks = filled(pool, [b"a"])
    pool.take(blocks)
    assert dict(pool.holders) == {blocks[0]: 2}
    pool.release(blocks)
    assert pool.used == 1
    pool.release(blocks)
    assert pool.used == 0


def test_what_is_free_is_still_known():
    pool = BlockPool(4, 2)
    blocks = filled(pool, [b"a"])
    pool.release(blocks)
    assert pool.free == 4
    assert pool.match([b"a"]) == blocks
    assert pool.idle(blocks) == 1
    pool.take(blocks)
    others = pool.allocate(3)
    assert blocks[0] not in others


def test_known_ones_are_given_last_and_the_end_first():
    pool = BlockPool(3, 2)
    a, b = filled(pool, [b"a", b"b"])
    pool.release([a, b])
    pool.allocate(1)
    assert pool.match([b"a", b"b"]) == [a, b]
    pool.allocate(1)
    assert pool.match([b"a", b"b"]) == [a]
    pool.allocate(1)
    assert pool.match([b"a", b"b"]) == []


def test_least_recently_released_goes_first():
    pool = BlockPool(2, 2)
    (a,), (b,) = filled(pool, [b"a"]), filled(pool, [b"b"])
    pool.release([a])
    pool.release([b])
    pool.take([a])
    pool.release([a])
    pool.allocate(1)
    assert pool.match([b"a"]) == [a]
    assert pool.match([b"b"]) == []


def test_forget():
    for others in (0, 1):
        pool = BlockPool(2, 2)
        blocks = filled(pool, [b"a"])
        for _ in range(others):
            pool.take(blocks)
        pool.release(blocks, forget=True)
        assert pool.match([b"a"]) == []

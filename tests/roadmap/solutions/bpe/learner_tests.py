"""What a learner might ask of their own bpe."""

from mine.bpe import BytePairs


def test_by_hand():
    merges = BytePairs.train({b"aab": 3, b"ab": 2, b"cab": 1}, 258).merges
    assert merges == [(b"a", b"b"), (b"a", b"ab")]
    assert BytePairs(merges).split(b"caab") == [b"c", b"aab"]


def test_counts_of_words():
    words = {b"ax": 10, b"by": 4, b"bby": 1, b"bcy": 1, b"cby": 1}
    assert BytePairs.train(words, 257).merges == [(b"a", b"x")]


def test_overlap():
    assert BytePairs.train({b"aaa": 3, b"bc": 5}, 257).merges == [(b"a", b"a")]
    assert BytePairs([(b"a", b"a")]).split(b"aaaaa") == [b"aa", b"aa", b"a"]


def test_ties():
    assert BytePairs.train({b"zy": 2, b"cd": 2, b"ce": 2}, 260).merges == [
        (b"c", b"d"),
        (b"c", b"e"),
        (b"z", b"y"),
    ]
    # "ab" is younger than every byte
    assert BytePairs.train({b"abk": 3, b"zq": 3, b"ab": 1}, 259).merges == [
        (b"a", b"b"),
        (b"z", b"q"),
        (b"ab", b"k"),
    ]


def test_stops():
    assert BytePairs.train({b"ab": 1, b"cd": 2}, 300).merges == [(b"c", b"d")]
    assert BytePairs.train({b"ab": 5}, 256).merges == []
    assert len(BytePairs.train({b"abcdefgh": 5}, 259).merges) == 3


def test_order_of_merges():
    pairs = BytePairs([(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")])
    assert pairs.split(b"abc") == [b"a", b"bc"]
    assert pairs.split(b"abab") == [b"ab", b"ab"]


def test_no_byte_is_lost():
    text = "naïve 日本 🎉".encode()
    pairs = BytePairs.train({text: 4, text[1:]: 2}, 270)
    assert b"".join(pairs.split(text * 3)) == text * 3

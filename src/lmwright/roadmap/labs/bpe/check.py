"""What byte-pair encoding must do, in the order in which it is learnt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call
from lmwright.roadmap.values import copied
from lmwright.tokens.bpe import MIN_PAIR_COUNT, BytePairs, Pair

LETTERS = b"abcdefgh"
SCRIPTS = ("aeinrst ", "äöüßéñ", "абвгд", "日本語", "😀🎉🇩🇪", "\u200d\u0301\x00\n")


def split(subject: Subject, case: Case) -> Any:
    """The tokens of each word, by merges that are given."""
    merges, words = copied(case.args)
    made = subject(merges)
    return [list(made.split(word)) for word in words]


def learned(subject: Subject, case: Case) -> Any:
    """The merges that are learned."""
    return list(call(subject.train, case).merges)  # type: ignore[attr-defined]


def learned_and_split(subject: Subject, case: Case) -> Any:
    """The tokens of other words, by merges that were learned before."""
    words, vocab_size, others = copied(case.args)
    made = subject.train(words, vocab_size)  # type: ignore[attr-defined]
    return [list(made.split(word)) for word in others]


def random_word(draw: Draw, letters: bytes = LETTERS, most: int = 8) -> bytes:
    return bytes(draw.choice(letters) for _ in range(draw.size(1, most)))


def corpus(draw: Draw, letters: bytes = LETTERS, most: int = 12) -> dict[bytes, int]:
    """Words with their counts, in any order."""
    return {random_word(draw, letters): draw.size(1, 6) for _ in range(draw.size(2, most))}


def pair_counts(words: Mapping[bytes, int]) -> Counter[Pair]:
    """Of the bytes of words, before any merge."""
    found: Counter[Pair] = Counter()
    for text, times in words.items():
        for left, right in pairwise(text):
            found[bytes([left]), bytes([right])] += times
    return found


def without_merges(draw: Draw) -> Case:
    words = [bytes(draw.integers(0, 255, draw.size(0, 9)).tolist()) for _ in range(3)]
    return Case(([], words))


def one_merge(draw: Draw) -> Case:
    letters = b"ab" if draw.chance(0.7) else b"a"
    left, right = bytes([draw.choice(letters)]), bytes([draw.choice(letters)])
    words = [random_word(draw, letters + b"c" * draw.size(0, 1)) for _ in range(4)]
    branch = "doubled" if left == right else "different"
    return Case(([(left, right)], words), branches=frozenset({branch}))


def many_merges(draw: Draw) -> Case:
    letters = LETTERS[: draw.size(2, 4)]
    merges = BytePairs.train(corpus(draw, letters, 20), 256 + draw.size(2, 30)).merges
    return Case((merges, [random_word(draw, letters, 12) for _ in range(6)]))


def first_pair(draw: Draw) -> Case:
    """One merge, of a pair that is more frequent than all others."""
    letters = LETTERS[: draw.size(2, 4)]
    words = corpus(draw, letters)
    most = max(pair_counts(words).values(), default=1)
    pair = bytes([draw.choice(letters), draw.choice(letters)])
    words[pair] = words.get(pair, 0) + most + draw.size(1, 3)
    order = list(words.items())
    draw.random.shuffle(order)
    return Case((dict(order), 257))


def counted(draw: Draw) -> Case:
    """One pair of one frequent word, and others that more kinds of words have."""
    seldom, often, *others = draw.random.sample(list(LETTERS), draw.size(4, len(LETTERS)))
    words = {bytes([seldom, other]): 1 for other in others}
    words |= {bytes([often, other, seldom, other]): 1 for other in others}
    words[bytes([often, seldom])] = draw.size(5, 40)
    return Case((words, 257))


def runs(draw: Draw) -> Case:
    """Words of few different letters, in which a pair overlaps itself."""
    letters = LETTERS[: draw.choice([1, 2])]
    words = {random_word(draw, letters, 10): _uneven(draw) for _ in range(draw.size(1, 6))}
    words[letters[:1] * draw.size(3, 7)] = _uneven(draw)
    return Case((words, 256 + draw.size(1, 4)))


def _uneven(draw: Draw) -> int:
    """A count without a pattern: seldom are two pairs equally frequent."""
    return 50 + draw.random.randint(0, 400)


def several_merges(draw: Draw) -> Case:
    words = corpus(draw, LETTERS[: draw.size(2, 5)], 20)
    counts = {text: _uneven(draw) for text in words}
    return Case((counts, 256 + draw.size(2, 12)))


def tied(draw: Draw) -> Case:
    """Pairs that are equally frequent, of bytes and of tokens made before."""
    letters = bytes(draw.random.sample(range(97, 123), draw.size(3, 8)))
    times = draw.choice([2, 3])
    words = {random_word(draw, letters, 7): times for _ in range(draw.size(3, 12))}
    return Case((words, 256 + draw.size(2, 20)))


def stopping(draw: Draw) -> Case:
    """A vocabulary larger than what occurs twice, or one of bytes alone, or in between."""
    kind = draw.choice(["no more pairs", "bytes alone", "enough"])
    if kind == "bytes alone":
        return Case((corpus(draw), draw.choice([0, 255, 256])), branches=frozenset({kind}))
    words = corpus(draw, LETTERS[:4], 6)
    merges = len(BytePairs.train(words, 10_000).merges)
    size = 10_000 if kind == "no more pairs" or not merges else 256 + draw.random.randint(1, merges)
    return Case((words, size), branches=frozenset({kind}))


def whole(draw: Draw) -> Case:
    """Learned from some words, applied to others: UTF-8 of all scripts, and any bytes."""

    def text() -> bytes:
        letters = draw.choice(SCRIPTS)
        made = "".join(draw.choice(letters) for _ in range(draw.size(1, 8))).encode()
        return made[1:] if draw.chance(0.2) else made  # not every word is whole characters

    words = {text(): draw.size(1, 9) for _ in range(draw.size(3, 30))}
    return Case((words, 256 + draw.size(2, 60), [text() for _ in range(20)]))


def comes_back(yours: Any, case: Case) -> str | None:
    """No byte is lost."""
    for text, tokens in zip(case.args[-1], yours, strict=True):
        if b"".join(tokens) != text:
            return f"{text!r} comes back as {b''.join(tokens)!r}"
    return None


PROPERTIES = (
    Property("without merges, the tokens of a word are its bytes", without_merges, observe=split),
    Property(
        "a merge joins its pair wherever it stands, from the left",
        one_merge,
        observe=split,
        branches=frozenset({"doubled", "different"}),
    ),
    Property("pairs learned first are merged first", many_merges, observe=split),
    Property(
        "the first pair learned is the most frequent one",
        first_pair,
        observe=learned,
        edges={
            "nothing": lambda draw: Case(({}, 300)),
            "no pair": lambda draw: Case(({b"a": 9}, 300)),
        },
    ),
    Property("a word counts as often as it occurs", counted, observe=learned),
    Property("in aaa the pair a, a stands twice", runs, observe=learned),
    Property("after a merge, pairs are counted anew", several_merges, observe=learned),
    Property("of equally frequent pairs the smallest ids come first", tied, observe=learned),
    Property(
        "it stops at the vocabulary's size, or where no pair occurs twice",
        stopping,
        observe=learned,
        branches=frozenset({"no more pairs", "bytes alone", "enough"}),
    ),
    Property(
        "what is learned from words writes any others, and every byte comes back",
        whole,
        cases=50,
        observe=learned_and_split,
        holds=comes_back,
    ),
)


def to_ids(merges: Sequence[Pair], word: bytes) -> list[int]:
    ids = {bytes([byte]): byte for byte in range(256)}
    ids |= {left + right: 256 + rank for rank, (left, right) in enumerate(merges)}
    return [ids[token] for token in BytePairs(merges).split(word)]


def with_longest(words: Mapping[bytes, int], vocab_size: int, longest: int) -> list[Pair]:
    spelled = {text: [bytes([byte]) for byte in text] for text in words}
    ids = {bytes([byte]): byte for byte in range(256)}
    merges: list[Pair] = []
    while len(ids) < vocab_size:
        counts: Counter[Pair] = Counter()
        for text, times in words.items():
            for pair in pairwise(spelled[text]):
                counts[pair] += times if len(pair[0] + pair[1]) <= longest else 0
        order = sorted(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
        if not order or counts[order[0]] < MIN_PAIR_COUNT:
            break
        merges.append(order[0])
        ids[order[0][0] + order[0][1]] = len(ids)
        one = BytePairs(merges)
        spelled = {text: one.split(text) for text in words}
    return merges


def with_dropout(
    merges: Sequence[Pair], word: bytes, uniforms: Tensor, dropout: float
) -> list[bytes]:
    kept = [pair for pair, drawn in zip(merges, uniforms.tolist(), strict=True) if drawn >= dropout]
    return BytePairs(kept).split(word)


def _one_word(draw: Draw) -> Case:
    merges, words = many_merges(draw).args
    return Case((merges, words[0]))


def _limited(draw: Draw) -> Case:
    words, vocab_size = several_merges(draw).args
    return Case((words, vocab_size + 10, draw.size(1, 4)))


def _dropped(draw: Draw) -> Case:
    merges, text = _one_word(draw).args
    return Case((merges, text, draw.uniforms(len(merges)), draw.choice([0.0, 0.1, 0.3, 1.0])))


TWISTS = {
    "ids": Twist(
        "split_to_ids",
        "`split_to_ids(merges, word)` gives the ids of a word's tokens, a list of ints: a byte's "
        "id is its value, the token of the first merge has id 256, the second's 257, and so on.",
        to_ids,
        (Property("bytes have their values, merges follow from 256", _one_word),),
    ),
    "longest": Twist(
        "train_with_longest",
        "`train_with_longest(words, vocab_size, longest)` gives the list of merges that "
        "`BytePairs.train` learns if no token may have more than `longest` bytes: pairs that would "
        "make a longer one are passed over.",
        with_longest,
        (Property("no token is longer than `longest` bytes", _limited),),
    ),
    "dropout": Twist(
        "split_with_dropout",
        "`split_with_dropout(merges, word, uniforms, dropout)` gives a word's tokens when some "
        "merges are left out at random, so that a model sees a word spelled in several ways (after "
        "Provilkov et al. 2020): merge number i takes no part where `uniforms[i] < dropout`. "
        "`uniforms` is a float32 tensor of a number in [0, 1) for each merge.",
        with_dropout,
        (Property("a merge takes part where its number is not below `dropout`", _dropped),),
    ),
}

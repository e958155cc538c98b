"""Cutting text at paragraphs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmwright.corpora.texts import cut, halves, pieces_of

texts = st.text(alphabet="ab \n", max_size=400)


def dense(text):
    """The text without white space, of which cuts may drop some."""
    return re.sub(r"\s", "", text)


@given(texts, st.integers(2, 60))
def test_pieces_are_short_and_lose_nothing_but_white_space(text, characters):
    pieces = cut(text, characters)
    assert all(0 < len(piece) <= characters and piece.strip() for piece in pieces)
    assert dense("".join(pieces)) == dense(text)


@given(st.lists(texts, max_size=6), st.integers(2, 60))
def test_blocks_leave_no_trace(blocks, characters):
    assert list(pieces_of(blocks, characters)) == list(pieces_of(["".join(blocks)], characters))


def test_cuts_are_at_blank_lines_where_there_are_any():
    paragraphs = ["a" * n for n in (30, 25, 40, 10, 35)]
    pieces = cut("\n\n".join(paragraphs), 60)
    first, second, third, fourth, fifth = paragraphs
    assert pieces == [f"{first}\n\n{second}", f"{third}\n\n{fourth}", fifth]


def test_without_blank_lines_cuts_are_at_lines_then_words_then_anywhere():
    assert cut("aaaa\nbbbb\ncccc", 10) == ["aaaa\nbbbb", "cccc"]
    assert cut("aaaa bbbb cccc", 10) == ["aaaa bbbb", "cccc"]
    assert cut("aaaabbbbcccc", 10) == ["aaaabbbbcc", "cc"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two\n\nthree\n\nfour", ("one two\n\nthree", "four")),
        ("one\ntwo\nthree four", ("one\ntwo", "three four")),
        ("one two", ("one", "two")),
        ("one", None),
        ("  one  ", None),
    ],
)
def test_halves_leave_about_the_share_for_the_second(text, expected):
    assert halves(text, 0.3) == expected

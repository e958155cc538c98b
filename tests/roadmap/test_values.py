"""Copies are equal and apart; a difference is found wherever it is, relative to the answer."""

import math
from collections import Counter, namedtuple
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmwright.roadmap.values import (
    compare,
    copied,
    elements,
    same_structure,
    shown,
    tensors_in,
)

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Answer:
    tokens: list[int]
    score: float = 0.0
    steps: int = field(default=0, init=False)


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
numbers = st.one_of(st.integers(-(2**40), 2**40), finite, st.booleans())
tensors = st.lists(finite, min_size=1, max_size=6).map(torch.tensor)
arrays = st.lists(st.integers(0, 200), min_size=1, max_size=6).map(lambda x: np.array(x, np.uint16))
leaves = st.one_of(numbers, st.text(max_size=5), st.none(), st.binary(max_size=4), tensors, arrays)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Answer, st.lists(st.integers(), max_size=3), finite),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_a_copy_is_equal(value):
    assert compare(copied(value), value) == (0.0, None)
    assert same_structure(copied(value), value) is None
    assert isinstance(shown(value), str)
    assert elements(value) >= 0


@settings(max_examples=200, deadline=None)
@given(values, st.data())
def test_a_change_is_found_and_does_not_reach_the_copy(value, data):
    before = copied(value)
    changed = damage(copied(value), data.draw(st.integers(0, 50)))
    if changed is None:
        return  # nothing in it can be changed
    worst, found = compare(changed, before)
    assert found is not None
    assert worst > 0
    assert compare(value, before) == (0.0, None)


def damage(value, number):
    """A value with one leaf changed, chosen by a number; None where there is no leaf."""
    if isinstance(value, torch.Tensor):
        value[number % len(value)] += 1 + value.abs().max()
        return value
    if isinstance(value, np.ndarray):
        value[number % len(value)] += 1
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 + abs(value)
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bytes):
        return value + b"x"
    if isinstance(value, Answer):
        return replace(value, score=damage(value.score, number))
    if isinstance(value, dict):
        items = list(value.items())
        for key, item in items[number % len(items) :] if items else []:
            new = damage(item, number)
            if new is not None:
                return value | {key: new}
        return None
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            new = damage(item, number)
            if new is not None:
                rest = [*value[:place], new, *value[place + 1 :]]
                return type(value)(*rest) if hasattr(value, "_fields") else type(value)(rest)
    return None


@given(st.floats(1e-30, 1e30), st.integers(0, 2**32))
def test_a_difference_is_relative_to_the_size_of_the_answer(size, seed):
    right = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    off = right.clone()
    off[7] += 1e-3 * right.square().mean().sqrt()
    worst, found = compare(off * size, right * size, 1e-4)
    assert worst == pytest.approx(1e-3, rel=1e-6)
    assert found is not None
    assert found.where == "[7]"
    assert compare(off * size, right * size, 2e-3)[1] is None


def test_where_zeros_are_expected_nothing_else_will_do():
    zeros = torch.zeros(3)
    assert compare(zeros.clone(), zeros) == (0.0, None)
    assert compare(zeros + 1e-30, zeros)[0] == math.inf


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, math.inf]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, math.nan])),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64)),
        (torch.tensor([[1.0]]), torch.tensor([1.0])),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (np.array([1.0]), torch.tensor([1.0])),
        (np.array([1, 2], np.uint16), np.array([1, 3], np.uint16)),
        (np.array([1, 2], np.uint16), np.array([1, 2], np.int32)),
        ([1, 2], (1, 2)),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        (1, True),
        ("a", b"a"),
        (None, 0),
        (math.nan, 1.0),
        (0.0, 1e-300),
    ],
)
def test_what_is_different(yours, expected):
    worst, found = compare(yours, expected)
    assert found is not None
    assert worst > 0
    assert isinstance(found.yours, str)


def test_what_is_not_a_number_is_equal_to_itself():
    value = torch.tensor([math.nan, -math.inf, 1.0])
    assert compare(value.clone(), value) == (0.0, None)
    assert compare(math.nan, math.nan) == (0.0, None)
    assert compare(1, 1.0) == (0.0, None)  # a float may be written without its point


def test_the_place_of_a_difference_is_named():
    right = {"answer": [Answer([1]), Answer([2], 3.0)]}
    wrong = {"answer": [Answer([1]), Answer([2], 4.0)]}
    _, found = compare(wrong, right)
    assert found is not None
    assert (found.where, found.yours, found.expected) == ("['answer'][1].score", "4", "3")
    _, found = compare(Pair(1, 2), Pair(1, 3))
    assert found is not None
    assert found.where == ".right"


def test_a_copy_keeps_what_a_value_is():
    counted = copied(Counter("aab"))
    assert counted == Counter("aab")
    assert isinstance(counted, Counter)
    answer = Answer([1], 2.0)
    object.__setattr__(answer, "steps", 7)
    assert copied(answer).steps == 7
    leaf = torch.ones(2, requires_grad=True)
    assert copied((leaf * 2, leaf))[0].grad_fn is None
    assert [tensor.requires_grad for tensor in copied((leaf * 2, leaf))] == [True, True]


def test_tensors_are_found_wherever_they_are():
    first, second, third = torch.ones(1), torch.ones(2), torch.ones(3)
    value = {"a": [first, (1, second)], "b": Pair(third, "x")}
    assert [len(tensor) for tensor in tensors_in(value)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (torch.tensor([[1.0, 2.5], [3.0, 4.0]]), "[[1 2.5] [3 4]]"),
        (torch.zeros(5, 5), "float32 tensor of shape (5, 5)"),
        (np.array([1, 2]), "[1 2]"),
        ([1, "a"], "[1, 'a']"),
        (Answer([1]), "Answer(tokens=[1])"),
        (Pair(1, None), "Pair(left=1, right=None)"),
    ],
)
def test_values_are_shown_shortly(value, text):
    assert shown(value) == text


def test_structure_is_apart_from_numbers():
    assert same_structure(torch.zeros(2), torch.ones(2)) is None
    found = same_structure(torch.zeros(2), torch.zeros(3))
    assert found is not None
    assert (found.yours, found.expected) == (
        "float32 tensor of shape (2,)",
        "float32 tensor of shape (3,)",
    )

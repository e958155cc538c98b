"""Automatic mutants: each differs from production in one named place, helpers included."""

import importlib
import sys
import types
from collections import Counter
from pathlib import Path

import pytest

import lmwright
from lmwright.roadmap import source
from lmwright.roadmap.ast_mutants import automatic_mutants

MODULE = "lmwright.made_for_this_test"
TEXT = '''\
"""A module."""

from __future__ import annotations

LIMIT = 3


def part(x: int, y: int = 2, *, loud: bool = False) -> int:
    """Of no great use."""
    total = _helper(x + 1, y=y)
    if total >= LIMIT and not loud:
        total -= 5
    for value in [a for a in range(x) if a % 2]:
        total += -value
    if x > 1_000:
        raise ValueError(f"{x + 1} is too much")
    return shared(total)


def _helper(a: int, y: int = 7) -> int:
    numbers = [4, 6, 8][1:y]
    return a * sum(numbers)


def shared(x: int) -> int:
    return x + 100


class Box:
    def __init__(self) -> None:
        self.items: list[int] = []

    def put(self, item: int) -> int:
        self.items.append(item)
        return _count(self.items)


def _count(items: list[int]) -> int:
    return len(items) + 1
'''


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType(MODULE)
    exec(compile(TEXT, MODULE, "exec", dont_inherit=True), made.__dict__)
    monkeypatch.setitem(sys.modules, MODULE, made)
    monkeypatch.setattr(source.Source, "of", classmethod(lambda cls, name: cls(name, TEXT)))
    return made


def test_every_kind_of_change_is_made_once_for_each_place(module):
    changes = Counter((m.line, m.change) for m in automatic_mutants(f"{MODULE}:part"))
    assert max(changes.values()) == 1
    assert set(changes) == {
        (8, "2 -> 3"),
        (8, "False -> True"),
        (10, "deleted"),
        (10, "y= dropped"),
        (10, "+ -> -"),
        (10, "1 -> 2"),
        (11, "condition negated"),
        (11, "and -> or"),
        (11, ">= -> >"),
        (11, "not dropped"),
        (12, "- -> +"),
        (12, "deleted"),
        (12, "5 -> 6"),
        (13, "condition negated"),
        (13, "% -> /"),
        (13, "2 -> 3"),
        (14, "+ -> -"),
        (14, "deleted"),
        (14, "- dropped"),
        (15, "condition negated"),
        (15, "> -> >="),
        (15, "1000 -> 1001"),
        # Of the helper; `shared` is a part of its own.
        (20, "7 -> 8"),
        (21, "deleted"),
        (21, "4 -> 5"),
        (21, "6 -> 7"),
        (21, "8 -> 9"),
        (21, "1 -> 2"),
        (21, "slice's upper bound + 1"),
        (22, "* -> /"),
    }


def test_a_mutant_does_what_it_says_and_production_stays(module):
    right = module.part(4, loud=True)
    found = {}
    for mutant in automatic_mutants(f"{MODULE}:part"):
        try:
            found[mutant.line, mutant.change] = mutant.make(4, loud=True)
        except (NameError, ValueError):  # an assignment was deleted, or a limit turned
            found[mutant.line, mutant.change] = None
    assert found[10, "1 -> 2"] == right + sum([6])
    assert found[22, "* -> /"] != right
    assert found[8, "False -> True"] == right
    assert module.part(4, loud=True) == right


def test_a_mutant_shows_its_line(module):
    first = next(iter(automatic_mutants(f"{MODULE}:part")))
    assert "line 8: def part(x: int" in str(first)
    assert first.text.startswith("def part(")


def test_methods_of_a_class_and_what_they_call(module):
    mutants = {(m.line, m.change): m.make for m in automatic_mutants(f"{MODULE}:Box")}
    assert module.Box().put(5) == 2
    assert mutants[39, "+ -> -"]().put(5) == 0
    assert mutants[34, "deleted"]().put(5) == 1


@pytest.mark.slow
def test_every_target_of_the_labs_can_be_mutated():
    from lmwright.roadmap.lab import all_labs

    for lab in all_labs().values():
        mutants = list(automatic_mutants(lab.target))
        assert len(mutants) > 5, lab.id
        text = Path(lmwright.__path__[0]).joinpath(*lab.module.split(".")[1:])
        lines = text.with_suffix(".py").read_text().splitlines()
        assert all(lines[m.line - 1].strip() == m.text for m in mutants)
        part = getattr(importlib.import_module(lab.module), lab.name)
        assert all(m.make is not part for m in mutants)

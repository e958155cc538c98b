"""Stubs: production's signature and docstring, and nothing of its body."""

import ast
import inspect
import random
import subprocess
import sys

import pytest

from lmwright.roadmap.checking import Bench, check
from lmwright.roadmap.hosting import LearnerFile, load
from lmwright.roadmap.lab import all_labs, find_lab
from lmwright.roadmap.source import Source
from lmwright.roadmap.stub import stub

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LABS = sorted(all_labs())


def loaded(lab, tmp_path):
    path = tmp_path / f"stub_of_{lab.id}.py"
    path.write_text(stub(lab))
    return load(LearnerFile.read(path))


def statements(node: ast.AST) -> list[str]:
    """Every statement below a function or class, docstrings and definitions aside."""
    return [
        ast.unparse(inner)
        for inner in ast.walk(node)
        if isinstance(inner, ast.stmt)
        and not isinstance(inner, (*DEFINITIONS, ast.AnnAssign, ast.Pass))
        and not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
    ]


@pytest.mark.parametrize("name", LABS)
def test_a_stub_has_production_s_signature_and_docstring(name, tmp_path):
    lab = find_lab(name)
    module, production = loaded(lab, tmp_path), lab.production()
    mine = getattr(module, lab.name)
    assert lab.target == module.REPLACES
    assert inspect.getdoc(mine) == inspect.getdoc(production)
    assert str(inspect.signature(mine)) == str(inspect.signature(production))
    if inspect.isclass(production):
        public = {n for n in vars(production) if not n.startswith("_")}
        methods = {n for n in public if inspect.isfunction(vars(production)[n])}
        for method in methods:
            assert inspect.signature(getattr(mine, method)) == inspect.signature(
                getattr(production, method)
            )
        assert methods <= vars(mine).keys()


@pytest.mark.parametrize("name", LABS)
def test_a_stub_holds_nothing_of_the_body(name):
    lab = find_lab(name)
    answer = set(statements(Source.of(lab.module).definition(lab.name)))
    given = {row for row in statements(ast.parse(stub(lab))) if "import" not in row}
    empty = {"raise NotImplementedError", "yield"}
    assert answer, "production's part does something"
    assert answer & given <= empty
    assert {row for row in given if "REPLACES" not in row} <= empty


@pytest.mark.parametrize("name", LABS)
def test_a_stub_fails_the_first_property(name, tmp_path):
    lab = find_lab(name)
    bench = Bench(lab.production(), lab.properties(), lab.mutants())
    found = check(getattr(loaded(lab, tmp_path), lab.name), bench, random.randrange(10_000))
    assert found.results[0].status == "wrong"
    assert all(result.status == "waits" for result in found.results[1:])


def test_a_stub_is_made_without_torch():
    code = (
        "import sys\n"
        "from lmwright.roadmap.lab import all_labs\n"
        "from lmwright.roadmap.stub import stub\n"
        "for lab in all_labs().values(): stub(lab)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


CLASS = '''
"""A module."""

import functools
import torch.nn.functional as F
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 3


class Helper:
    """Beside it."""


class Thing(nn.Module):
    """What it is.

    Args:
        size: how much.
    """

    kind: "Iterator[int]"
    """Which."""

    def __init__(self, size: int = SIZE, other: "Helper | None" = None) -> None:
        super().__init__()
        self.size = size

    @property
    def twice(self) -> int:
        """Two of them."""
        return 2 * self.size

    @functools.cache
    def forward(  # the call
        self, x: Tensor
    ) -> Tensor:
        """Do it."""
        return F.relu(self._secret(x))

    @staticmethod
    def plain(x: int) -> int: return x

    async def each(self) -> "Iterator[int]":
        for x in range(self.size):
            yield x

    def later(self) -> int:
        def inner():
            yield 3

        return sum(inner())

    def _secret(self, x: Tensor) -> Tensor:
        return x * SIZE
'''


def test_a_class_s_stub_keeps_what_a_caller_sees(monkeypatch):
    lab = find_lab("attention").model_copy(update={"target": "lmwright.made.up:Thing"})
    monkeypatch.setattr(Source, "of", lambda module: Source(module, CLASS))
    text = stub(lab)
    for kept in (
        "class Thing(nn.Module):",
        '    """What it is.',
        '    kind: "Iterator[int]"\n    """Which."""',
        '    def __init__(self, size: int = SIZE, other: "Helper | None" = None) -> None:\n'
        "        raise NotImplementedError",
        '    @property\n    def twice(self) -> int:\n        """Two of them."""',
        "    def forward(",
        "    @staticmethod\n    def plain(x: int) -> int:\n        raise NotImplementedError",
        "    async def each(",
        "        raise NotImplementedError\n        yield\n\n    def later(self) -> int:\n",
        "from collections.abc import Iterator",
        "from lmwright.made.up import Helper, SIZE",
        "from torch import Tensor, nn",
    ):
        assert kept in text, kept
    for gone in ("_secret", "functools", "relu", "self.size", "dataclass"):
        assert gone not in text, gone
    assert text.count("yield") == 1, "a generator inside of a function makes it none"
    ast.parse(text)

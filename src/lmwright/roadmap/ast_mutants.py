"""Automatic mutants of a part: production's own code with one place in it turned (DeMillo, Lipton
and Sayward 1978, *Hints on test data selection*). A check that lets one pass looks away there."""

import ast
import copy
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmwright.roadmap.properties import Subject
from lmwright.roadmap.source import Definition, Source, names_in

Change = tuple[str, ast.AST]
"""What is done, as a person reads it, and the node that comes in the place of the old one."""

_ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Div,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# Only the border moves: `<` turned into `>` would be seen by any check at all.
_COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_SIGNS: Mapping[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.MatMult: "@",
    ast.Pow: "**",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.And: "and",
    ast.Or: "or",
    ast.Not: "not",
    ast.USub: "-",
    ast.Invert: "~",
}
_LARGEST = 2**24  # beyond it float32 does not see a one more
_UNTOUCHED_FIELDS = ("annotation", "returns", "decorator_list", "type_params")
# `strict` of a zip promises as an assertion does; one device alone cannot tell devices apart.
_UNTOUCHED_KEYWORDS = ("device", "strict")
_UNTOUCHED = (ast.Raise, ast.Assert)  # what an error says is no part of an answer


@dataclass(frozen=True)
class AutomaticMutant:
    """One change of production's source.

    Args:
        line: its number in the module's file.
        text: of that line.
        change: what became of it.
        make: the part so changed.
    """

    line: int
    text: str
    change: str
    make: Subject

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}    [{self.change}]"


def automatic_mutants(target: str) -> Iterator[AutomaticMutant]:
    """Every mutant of a part and of the private helpers of its module that it calls, in order.

    Args:
        target: "module:name" of a function or class.
    """
    module, _, name = target.partition(":")
    source = Source.of(module)
    reached = _reached(source, name)
    for owner, definition in reached.items():
        if owner != name and not owner.startswith("_"):
            continue  # a part of its own, called but not asked for
        for node, line in _places(definition):
            for change, new in _changes(node):
                # `deepcopy` takes what its memo knows: the copy holds `new` where `node` was.
                mutated = copy.deepcopy(definition, {id(node): new})
                try:
                    made = _built(source, name, {**reached, owner: mutated})
                except SyntaxError:
                    continue  # `nonlocal` of a name whose only assignment was deleted
                yield AutomaticMutant(line, source.lines[line - 1].strip(), change, made)


def _reached(source: Source, name: str) -> dict[str, Definition]:
    """The part and what it calls of its own module, in the file's order.

    All of it is defined anew beside a mutant, so that a call comes through to the mutated helper;
    other classes stay as they are, since a second class of the same name is another type.
    """
    reached, waiting = {name: source.definition(name)}, [name]
    while waiting:
        for other in names_in(reached[waiting.pop()]):
            node = source.definitions.get(other)
            if other not in reached and isinstance(node, Definition) and _is_code(node):
                reached[other] = node
                waiting.append(other)
    return dict(sorted(reached.items(), key=lambda row: row[1].lineno))


def _is_code(node: Definition) -> bool:
    if not isinstance(node, ast.ClassDef):
        return True
    return node.name.startswith("_") and any(isinstance(n, ast.FunctionDef) for n in node.body)


def _built(source: Source, name: str, definitions: Mapping[str, Definition]) -> Subject:
    """The part, defined in a namespace like its module's."""
    future = [n for n in source.tree.body if isinstance(n, ast.ImportFrom) and _is_future(n)]
    module = ast.Module([*future, *definitions.values()], [])
    namespace = dict(vars(importlib.import_module(source.module)))
    code = compile(ast.fix_missing_locations(module), f"<mutant of {source.module}>", "exec")
    exec(code, namespace)
    made: Subject = namespace[name]
    return made


def _is_future(node: ast.ImportFrom) -> bool:
    return node.module == "__future__"


def _places(node: ast.AST, line: int = 0) -> Iterator[tuple[ast.AST, int]]:
    """Every node that may be changed, with its line."""
    line = getattr(node, "lineno", line)
    yield node, line
    for name, value in ast.iter_fields(node):
        if name in _UNTOUCHED_FIELDS:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_untouched(child):
                yield from _places(child, line)


def _is_untouched(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in _UNTOUCHED_KEYWORDS
    return isinstance(node, _UNTOUCHED)


def _changes(node: ast.AST) -> Iterator[Change]:
    """Every change of one node."""
    for rule in _RULES:
        yield from rule(node)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    """The node with other fields; its children are shared."""
    found = copy.copy(node)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def _operator(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        other = _ARITHMETIC[type(node.op)]
        yield f"{_SIGNS[type(node.op)]} -> {_SIGNS[other]}", _with(node, op=other())


def _comparison(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for place, old in enumerate(node.ops):
            new = _COMPARISONS[type(old)]
            ops = [*node.ops[:place], new(), *node.ops[place + 1 :]]
            yield f"{_SIGNS[type(old)]} -> {_SIGNS[new]}", _with(node, ops=ops)


def _logic(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BoolOp):
        new = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{_SIGNS[type(node.op)]} -> {_SIGNS[new]}", _with(node, op=new())


def _sign(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        if isinstance(node.operand, ast.Constant) and not isinstance(node.op, ast.Not):
            return  # -1 is one number; `_constant` changes it
        yield f"{_SIGNS[type(node.op)]} dropped", node.operand


def _constant(node: ast.AST) -> Iterator[Change]:
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield f"{value} -> {not value}", _with(node, value=not value)
    elif isinstance(value, int | float) and abs(value) < _LARGEST:
        yield f"{value} -> {value + 1}", _with(node, value=value + 1)


def _statement(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr):
        yield "deleted", ast.copy_location(ast.Pass(), node)


def _keyword(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None and keyword.arg not in _UNTOUCHED_KEYWORDS:
                rest = [*node.keywords[:place], *node.keywords[place + 1 :]]
                yield f"{keyword.arg}= dropped", _with(node, keywords=rest)


def _condition(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition negated", _with(node, test=_negated(node.test))
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            ifs = [*node.ifs[:place], _negated(test), *node.ifs[place + 1 :]]
            yield "condition negated", _with(node, ifs=ifs)


def _negated(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), test), test)


def _bound(node: ast.AST) -> Iterator[Change]:
    """A bound of a slice moved by one; numbers are `_constant`'s."""
    if not isinstance(node, ast.Slice):
        return
    if node.lower is None and node.upper is None:
        return  # `:`, the whole dimension
    for name in ("lower", "upper"):
        old = getattr(node, name)
        if old is None and name == "lower":
            yield "slice from 1", _with(node, lower=ast.Constant(1))
        elif old is None:
            yield "slice to -1", _with(node, upper=ast.Constant(-1))
        elif not isinstance(old, ast.Constant):
            moved = ast.copy_location(ast.BinOp(old, ast.Add(), ast.Constant(1)), old)
            yield f"slice's {name} bound + 1", _with(node, **{name: moved})


_RULES: tuple[Callable[[ast.AST], Iterator[Change]], ...] = (
    _operator,
    _comparison,
    _logic,
    _sign,
    _constant,
    _statement,
    _keyword,
    _condition,
    _bound,
)

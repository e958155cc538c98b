"""A stub of a part: production's signature and docstring, and nothing of its body.

It is made from the source at the moment it is asked for, so that it cannot drift from production
and cannot hold the answer.
"""

import ast
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator

from lmwright.roadmap.lab import Lab
from lmwright.roadmap.source import Definition, Function, Source, names_in

_KEPT = ("property", "classmethod", "staticmethod", "dataclass", "contextmanager", "setter")
"""Decorators that belong to how a thing is called; others belong to how it works."""


def stub(lab: Lab) -> str:
    """The text of the learner's file before they have written anything."""
    source = Source.of(lab.module)
    node = source.definition(lab.name)
    kind = "a class" if isinstance(node, ast.ClassDef) else "a function"
    parts = [
        f'"""Lab {lab.id}: {lab.title}.\n\n'
        f"Write {kind}, then: lmwright lab check {lab.id}\n"
        f"What is asked:         lmwright lab hint {lab.id} 0\n"
        '"""',
        "\n".join(_imports(source, node)),
        f'REPLACES = "{lab.target}"\n'
        f'"""What stands aside for this file under `--use`."""\n\n\n'
        + "\n".join(
            _class(source, node) if isinstance(node, ast.ClassDef) else _function(source, node)
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _function(source: Source, node: Function) -> list[str]:
    indent = " " * node.col_offset
    lines = [*_decorators(node), *_signature(source, node), *_docstring(source, node)]
    lines.append(f"{indent}    raise NotImplementedError")
    if _yields(node):  # what it returns otherwise is no generator, and fails in another way
        lines.append(f"{indent}    yield")
    return lines


def _class(source: Source, node: ast.ClassDef) -> list[str]:
    lines = [*_decorators(node), *_signature(source, node), *_docstring(source, node)]
    for place, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign):
            lines += ["", *_lines(source, item)]
            if place + 1 < len(node.body) and _is_text(node.body[place + 1]):
                lines += _lines(source, node.body[place + 1])
        elif isinstance(item, Function) and _is_public(item):
            lines += ["", *_function(source, item)]
    return lines


def _imports(source: Source, node: Definition) -> list[str]:
    """Statements that bind what the stub's lines name, grouped as `ruff` groups them."""
    known, groups = source.imports(), defaultdict(set)
    for name in names_in(*_shown(node)) - {getattr(node, "name", "")}:
        if name in known:
            groups[_group(known[name])].add(known[name])
        elif name in source.definitions:
            statement = f"from {source.module} import {name}"
            groups[_group(statement)].add(statement)
    lines: list[str] = []
    for group in sorted(groups):
        lines += ["", *_merged(groups[group])]
    return lines[1:]


def _shown(node: Definition) -> Iterator[ast.AST | None]:
    """The expressions of a definition that its stub repeats."""
    yield from (d for d in node.decorator_list if _decorator_name(d) in _KEPT)
    if isinstance(node, ast.ClassDef):
        yield from node.bases
        for item in node.body:
            if isinstance(item, ast.AnnAssign):
                yield item
            elif isinstance(item, Function) and _is_public(item):
                yield from _shown(item)
    else:
        yield node.args
        yield node.returns


def _merged(statements: Iterable[str]) -> list[str]:
    """Plain imports, then one `from` for each module."""
    plain, named = [], defaultdict(list)
    for statement in statements:
        if statement.startswith("import "):
            plain.append(statement)
        else:
            module, _, name = statement.removeprefix("from ").partition(" import ")
            named[module].append(name)
    lines = sorted(plain)
    for module, names in sorted(named.items()):
        line = f"from {module} import {', '.join(sorted(names))}"
        if len(line) > 100:
            line = f"from {module} import (\n    " + ",\n    ".join(sorted(names)) + ",\n)"
        lines.append(line)
    return lines


def _group(statement: str) -> int:
    """Standard library, other packages, ours."""
    root = statement.split()[1].partition(".")[0]
    return 2 if root == "lmwright" else 0 if root in sys.stdlib_module_names else 1


def _signature(source: Source, node: Definition) -> list[str]:
    """The lines from `def` or `class` to the colon."""
    first = node.body[0]
    start = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", ()))])
    lines = source.lines[node.lineno - 1 : start - 1]
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines = lines[:-1]
    if lines and lines[-1].endswith(":"):
        return lines
    # The body begins on the same line, or a comment ends it.
    bare = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(bare, Definition)
    bare.decorator_list, bare.body = [], [ast.Pass()]
    text = ast.unparse(bare).rpartition("\n")[0]
    return textwrap.indent(text, " " * node.col_offset).splitlines()


def _docstring(source: Source, node: Definition) -> list[str]:
    return _lines(source, node.body[0]) if _is_text(node.body[0]) else []


def _decorators(node: Definition) -> list[str]:
    indent = " " * node.col_offset
    kept = [d for d in node.decorator_list if _decorator_name(d) in _KEPT]
    return [f"{indent}@{ast.unparse(decorator)}" for decorator in kept]


def _decorator_name(decorator: ast.expr) -> str:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _lines(source: Source, node: ast.stmt) -> list[str]:
    return source.lines[node.lineno - 1 : node.end_lineno]


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _yields(node: ast.AST) -> bool:
    """Whether a function is a generator: functions inside of it do not count."""
    return any(
        isinstance(inner, (ast.Yield, ast.YieldFrom))
        or (not isinstance(inner, (Function, ast.Lambda)) and _yields(inner))
        for inner in ast.iter_child_nodes(node)
    )


def _is_public(node: Function) -> bool:
    return not node.name.startswith("_") or node.name.endswith("__")

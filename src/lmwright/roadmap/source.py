"""Production's source, read but not imported: for stubs, for the reader, for similarity."""

import ast
import functools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lmwright
from lmwright.core.errors import LmwrightError

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """A module of this package.

    Args:
        module: its dotted name.
        text: of its file.
    """

    module: str
    text: str

    @classmethod
    def of(cls, module: str) -> "Source":
        """Find and read it; nothing is executed.

        Raises:
            LmwrightError: if there is no such module.
        """
        base = Path(lmwright.__path__[0]).joinpath(*module.split(".")[1:])
        for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if path.is_file():
                return cls(module, path.read_text(encoding="utf-8"))
        raise LmwrightError(f"there is no module {module}")

    @functools.cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @functools.cached_property
    def lines(self) -> list[str]:
        """Of its text, without line ends."""
        return self.text.splitlines()

    @functools.cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """What it defines at its top level, by name: functions, classes, constants."""
        found: dict[str, ast.stmt] = {}
        for node in self.tree.body:
            for name in _defined(node):
                found[name] = node
        return found

    def definition(self, name: str) -> Definition:
        """A function or class at its top level.

        Raises:
            LmwrightError: if it defines none of that name.
        """
        node = self.definitions.get(name)
        if not isinstance(node, Definition):
            raise LmwrightError(f"{self.module} defines no function or class {name}")
        return node

    def segment(self, node: ast.stmt) -> str:
        """The lines of a statement, with its decorators, and the comments right above it."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        while first > 1 and self.lines[first - 2].startswith("#"):
            first -= 1
        return "\n".join(self.lines[first - 1 : node.end_lineno])

    def with_helpers(self, name: str, *, private: bool = True) -> str:
        """A definition and those of the same module that it needs, in their order.

        Args:
            name: of the definition.
            private: whether only those count whose names begin with `_`.
        """
        wanted, waiting = {name}, [name]
        while waiting:
            for other in names_in(self.definitions[waiting.pop()]) & self.definitions.keys():
                if (not private or other.startswith("_")) and other not in wanted:
                    wanted.add(other)
                    waiting.append(other)
        nodes = {id(self.definitions[n]): self.definitions[n] for n in wanted}
        ordered = sorted(nodes.values(), key=lambda node: node.lineno)
        return "\n\n\n".join(self.segment(node) for node in ordered) + "\n"

    def imports(self) -> dict[str, str]:
        """The import statement that binds each name that the module imports at its top level."""
        found = {}
        for node in ast.walk(ast.Module(_outside_functions(self.tree.body), [])):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    found[bound] = f"import {_as(alias)}"
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                for alias in node.names:
                    found[alias.asname or alias.name] = f"from {node.module} import {_as(alias)}"
        return found


def production_source(target: str) -> str:
    """What "module:name" names, with the private helpers that it needs."""
    module, _, name = target.partition(":")
    source = Source.of(module)
    source.definition(name)
    return source.with_helpers(name)


def names_in(*nodes: ast.AST | None) -> set[str]:
    """Every name that expressions or statements use; text in them is read as annotations are."""
    found = set()
    for node in (inner for whole in nodes if whole is not None for inner in ast.walk(whole)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= _names_in_text(node.value)
    return found


def lines_of_code(text: str) -> int:
    """Lines that hold more than blanks, a comment or a docstring.

    Args:
        text: Python; where it is no Python, every line that is not blank counts.
    """
    try:
        tree = ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return sum(bool(line.strip()) for line in text.splitlines())
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    rows = enumerate(textwrap.dedent(text).splitlines(), start=1)
    return sum(
        number not in told and bool(row.strip()) and not row.lstrip().startswith("#")
        for number, row in rows
    )


def _names_in_text(text: str) -> set[str]:
    """Of an annotation in quotes; none where the text is none."""
    try:
        return {n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)}
    except SyntaxError:
        return set()


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def _outside_functions(body: list[ast.stmt]) -> list[ast.stmt]:
    return [node for node in body if not isinstance(node, Definition)]


def _as(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name

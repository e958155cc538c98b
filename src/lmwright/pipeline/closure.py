"""Which source files a step's result depends on, found by reading imports, not by importing."""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from lmwright.core.files import sha256_file


def code_digests(module: str) -> dict[str, str]:
    """SHA-256 of every source file that `module` may load, itself included.

    Followed are the imports of modules of lmwright and of the module's own top-level package, also
    those inside functions; not those under `if TYPE_CHECKING:`, which never run. The packages'
    `__init__` files count. A data file inside the package counts when a followed module holds its
    name as a string. Modules imported by a computed name are not seen.

    Args:
        module: dotted name, such as "lmwright.training.steps".

    Returns:
        dotted name, or name of the data file, -> hexadecimal digest; sorted.
    """
    followed = {"lmwright", module.partition(".")[0]}
    digests: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in digests or name.partition(".")[0] not in followed:
            continue
        file = module_file(name)
        if file is None:
            continue  # an attribute of a package, or a package without __init__
        found = _read_module(file, file.stat().st_mtime_ns)
        digests[name] = found.digest
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        pending += [name.rpartition(".")[0], *_absolute(found.imports, package)]
        for data in _data_files(name.partition(".")[0], found.strings):
            digests[data.name] = sha256_file(data)
    return dict(sorted(digests.items()))


def module_file(name: str) -> Path | None:
    """The source file of a module, without importing any of its packages."""
    first, *rest = name.split(".")
    root = _root(first)
    if root is None or not first:
        return None
    if root.is_file():
        return root if not rest else None
    path = root.joinpath(*rest)
    for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
        if candidate.is_file():
            return candidate
    return None


class _Module:
    """What one source file says: its digest, what it imports, and its short strings."""

    def __init__(self, source: bytes, file: Path) -> None:
        self.digest = hashlib.sha256(source).hexdigest()
        self.imports: list[tuple[int, str, str]] = []  # level, module, name ("" for `import x`)
        self.strings: set[str] = set()
        for node in _live_nodes(ast.parse(source, filename=str(file))):
            if isinstance(node, ast.Import):
                self.imports += [(0, alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                self.imports += [(node.level, node.module or "", a.name) for a in node.names]
            elif isinstance(node, ast.Constant) and _may_name_a_file(node.value):
                self.strings.add(str(node.value))


@functools.cache
def _read_module(file: Path, mtime_ns: int) -> _Module:
    return _Module(file.read_bytes(), file)


def _live_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run: all but the bodies of `if TYPE_CHECKING:`."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            pending += node.orelse
        else:
            pending += ast.iter_child_nodes(node)


def _may_name_a_file(value: object) -> bool:
    return isinstance(value, str) and "." in value and len(value) < 100


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _absolute(imports: list[tuple[int, str, str]], package: str) -> Iterator[str]:
    """Dotted names that may be modules: what is imported from, and each name imported."""
    for level, module, name in imports:
        if level:
            base = package.split(".")[: len(package.split(".")) - level + 1]
            module = ".".join([*base, module] if module else base)
        yield module
        if name:
            yield f"{module}.{name}"


@functools.cache
def _root(top: str) -> Path | None:
    """Folder of a top-level package, or the file of a top-level module."""
    if not top:
        return None
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


@functools.cache
def _package_data(top: str) -> dict[str, list[Path]]:
    """Files of a package that are no Python, by their name without folders."""
    root = _root(top)
    data: dict[str, list[Path]] = {}
    if root is not None and root.is_dir():
        for file in root.rglob("*"):
            if file.suffix not in (".py", ".pyc", "") and file.is_file():
                data.setdefault(file.name, []).append(file)
    return data


def _data_files(top: str, strings: set[str]) -> Iterator[Path]:
    data = _package_data(top)
    for string in strings:
        yield from data.get(string.rpartition("/")[2], ())

"""What `--use` names: a reader's file, their folder, or production's own readable twin.

Files are read here, never run: what they stand for must be known before anything is imported.
"""

import ast
import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.core.home import passed_file

_PACKAGE = Path(__file__).parents[1]
_TARGET = re.compile(r"lmwright(\.\w+)+:\w+")
_EXAMPLE = 'REPLACES = "lmwright.models.layers.attention:attend"'


@dataclass(frozen=True)
class Part:
    """A part of production and what stands in its place.

    Args:
        name: what it is called in records: the name of the reader's file.
        target: the part of production, "module:name".
        file: the reader's file, absolute; None for production's own twin.
        sha256: of the file's bytes when the process began; empty for a twin.
        checked: whether exactly this file has passed the lab's check.
        module: dotted name of the reader's file, such as "mine.attention"; empty for a twin.
        named: whether it was asked for by its own name, not with its folder.
    """

    name: str
    target: str
    file: str | None
    sha256: str
    checked: bool
    module: str = ""
    named: bool = True

    @property
    def target_module(self) -> str:
        """Dotted name of the production module."""
        return self.target.partition(":")[0]

    @property
    def attribute(self) -> str:
        """Name of the function or class in it, and in the reader's file."""
        return self.target.partition(":")[2]

    @property
    def shown(self) -> str:
        """What stands there, for people: "mine/attention.py", or the twin's module and name."""
        return self.target if self.file is None else self.module.replace(".", "/") + ".py"

    @property
    def root(self) -> Path | None:
        """The folder from which the file's dotted name counts."""
        if self.file is None:
            return None
        return Path(self.file).parents[self.module.count(".")]


def find(word: str, folder: Path) -> list[Part]:
    """The parts that one `--use` names.

    Args:
        word: "mine.attention", "mine", or "lmwright.training.adamw:adamw_step".
        folder: from which dotted names count.

    Raises:
        LmwrightError: if there is no such file, or it cannot take a part's place.
    """
    if ":" in word:
        _check_target(word, f"--use {word}")
        return [Part(word.partition(":")[2], word, None, "", checked=True)]
    names = word.split(".")
    if not all(name.isidentifier() for name in names):
        dotted = word.removesuffix(".py").strip("./").replace("/", ".")
        raise LmwrightError(
            f"--use {word}: a part is named as Python would import it",
            hint=f"write --use {dotted}" if dotted else "write --use mine.attention",
        )
    path = folder.joinpath(*names)
    file = path.with_name(f"{path.name}.py")
    if file.is_file() and len(names) == 1:
        # It would be a module of that name for everybody, also for whoever means another.
        raise LmwrightError(
            f"--use {word}: {word}.py lies in the working folder itself",
            hint=f"put it into a folder of its own, as mine/{word}.py, and write --use mine.{word}",
        )
    if file.is_file():
        return [_of_file(file, word, named=True)]
    if path.is_dir():
        return list(_of_folder(path, word))
    shown = word.replace(".", "/")
    raise LmwrightError(
        f"--use {word}: there is no {shown}.py and no folder {shown} in {folder}",
        hint=_nearest(path) or f"`lmwright lab start {names[-1]}` writes a lab's file",
    )


def refuse_unchecked(parts: Iterable[Part]) -> None:
    """Refuse files that have not passed their lab's check as they are now.

    Raises:
        LmwrightError: naming them, and how to check the first.
    """
    unchecked = [part for part in parts if not part.checked]
    if not unchecked:
        return
    files = ", ".join(part.shown for part in unchecked)
    have = "has" if len(unchecked) == 1 else "have"
    raise LmwrightError(
        f"{files} {have} not passed the check as written now",
        hint=f"lmwright lab check {unchecked[0].name}"
        " (or give --unchecked, which the run writes down)",
    )


def sha256(source: bytes) -> str:
    """Hexadecimal digest by which a file is recorded."""
    return hashlib.sha256(source).hexdigest()


def _of_folder(path: Path, word: str) -> Iterator[Part]:
    found = False
    for file in sorted(path.glob("*.py")):
        if file.stem.startswith("test_") or file.stem.endswith("_test"):
            continue
        if _replaces(_parsed(file.read_bytes(), _shown(word, file))) is None:
            continue
        found = True
        yield _of_file(file, f"{word}.{file.stem}", named=False)
    if not found:
        raise LmwrightError(
            f"--use {word}: no file in {word.replace('.', '/')} says what it replaces",
            hint=f"such a file has a line like {_EXAMPLE}",
        )


def _of_file(file: Path, module: str, *, named: bool) -> Part:
    source = file.read_bytes()
    shown = module.replace(".", "/") + ".py"
    tree = _parsed(source, shown)
    target = _replaces(tree)
    if target is None:
        raise LmwrightError(
            f"{shown} does not say what it replaces", hint=f"write a line like {_EXAMPLE}"
        )
    kind = _check_target(target, f"{shown} replaces {target}")
    name = target.partition(":")[2]
    _check_defined(tree, name, kind, shown)
    digest = sha256(source)
    checked = _has_passed(digest, target)
    return Part(file.stem, target, str(file.absolute()), digest, checked, module, named)


def _parsed(source: bytes, shown: str) -> ast.Module:
    try:
        return ast.parse(source, filename=shown)
    except SyntaxError as error:
        raise LmwrightError(f"{shown}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:  # a null byte, on Python 3.11
        raise LmwrightError(f"{shown} is no Python source: {error}") from error


def _replaces(tree: ast.Module) -> str | None:
    """The text that a file's top level gives to the name REPLACES."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            names, value = [node.target], node.value
        else:
            continue
        if any(isinstance(name, ast.Name) and name.id == "REPLACES" for name in names):
            given = value.value if isinstance(value, ast.Constant) else None
            return given if isinstance(given, str) else ""
    return None


def _check_target(target: str, where: str) -> str:
    """Whether the part of production is a "function" or a "class".

    Raises:
        LmwrightError: if production has no such part.
    """
    if not _TARGET.fullmatch(target):
        raise LmwrightError(
            f"{where}: a part of production is named as MODULE:NAME", hint=f"as in {_EXAMPLE}"
        )
    module, _, name = target.partition(":")
    base = _PACKAGE.joinpath(*module.split(".")[1:])
    candidates = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        raise LmwrightError(f"{where}: there is no module {module}", hint=_nearest(base))
    kinds = _defined(ast.parse(file.read_bytes()))
    if kinds.get(name) not in ("function", "class"):
        real = [n for n, kind in kinds.items() if kind in ("function", "class")]
        close = difflib.get_close_matches(name, real, n=1)
        raise LmwrightError(
            f"{where}: {module} defines no function or class {name}",
            hint=f"did you mean {close[0]}?" if close else None,
        )
    return kinds[name]


def _check_defined(tree: ast.Module, name: str, kind: str, shown: str) -> None:
    kinds = _defined(tree)
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, n=1)
        raise LmwrightError(
            f"{shown} defines no {name}",
            hint=f"it defines {close[0]}" if close else f"it is to define the {kind} `{name}`",
        )
    if kinds[name] not in (kind, "value"):
        raise LmwrightError(f"{shown}: {name} is a {kinds[name]}, and stands for a {kind}")


def _defined(tree: ast.Module) -> dict[str, str]:
    """Names bound at the top level -> "function", "class" or "value"."""
    kinds: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            kinds[node.name] = "function"
        elif isinstance(node, ast.ClassDef):
            kinds[node.name] = "class"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            kinds |= {alias.asname or alias.name: "value" for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            kinds |= {target.id: "value" for target in targets if isinstance(target, ast.Name)}
    return kinds


def _has_passed(digest: str, target: str) -> bool:
    file = passed_file()
    if not file.exists():
        return False
    passed = read_json(file)
    facts = passed.get(digest) if isinstance(passed, dict) else None
    return isinstance(facts, dict) and facts.get("target") == target


def _nearest(path: Path) -> str | None:
    """A hint: the Python file or folder beside a path that is named most like it."""
    beside = list(path.parent.iterdir()) if path.parent.is_dir() else []
    names = [file.stem for file in beside if file.suffix == ".py" or file.is_dir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {close[0]}?" if close else None


def _shown(word: str, file: Path) -> str:
    return f"{word.replace('.', '/')}/{file.name}"

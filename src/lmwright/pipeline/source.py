"""A recipe's text, its overrides, and where each value came from, so that errors can point."""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import nearest

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]
"""Keys and indices from the document's root to a value."""


class Source:
    """The values of a recipe, each with the file and line or the override it came from.

    Args:
        title: how errors name the text, such as "recipe quickstart.yaml" or "command line".
        document: what ruamel read, with line numbers; empty for a recipe without a file.
    """

    def __init__(self, title: str, document: CommentedMap) -> None:
        self.title = title
        self.values: dict[str, Any] = _plain(document)
        self._document = document
        self._overrides: dict[Location, str] = {}

    def set(self, path: Location, value: object, override: str) -> None:
        """Put `value` at `path`, making the mappings on the way; remember the override's text."""
        target: Any = self.values
        for key in path[:-1]:
            if isinstance(target, dict) and not isinstance(target.get(key), (dict, list)):
                target[key] = {}
            target = target[key]
        target[path[-1]] = value
        self._overrides[path] = override

    def where(self, path: Location) -> str:
        """The override, or the file and line, of the value at `path` or of what holds it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._overrides:
                return f"override {self._overrides[path[:length]]}"
        line = self._line(path)
        return self.title if line is None else f"{self.title}, line {line}"

    def error(self, path: Location, what: str, hint: str | None = None) -> LmwrightError:
        """An error that points at `path`."""
        return LmwrightError(f"{self.where(path)}: {what}", hint=hint)

    def _line(self, path: Location) -> int | None:
        node: Any = self._document
        line: int | None = None
        for key in path:
            if isinstance(node, CommentedMap) and key in node:
                line = node.lc.key(key)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
                line = node.lc.item(key)[0] + 1
            else:
                break
            node = node[key]
        return line


def read_source(path: Path) -> Source:
    """Read a YAML file.

    Raises:
        LmwrightError: if the file cannot be read, is no YAML, or is no mapping.
    """
    title = f"recipe {path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LmwrightError(f"recipe {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LmwrightError(f"recipe {path} cannot be read: {error}") from error
    try:
        document = YAML().load(text)
    except YAMLError as error:
        raise _yaml_error(title, error) from error
    if not isinstance(document, CommentedMap):
        raise LmwrightError(f"{title}: a recipe is a mapping with steps, not {_kind(document)}")
    return Source(title, document)


def empty_source(title: str) -> Source:
    """A source whose every value comes from overrides."""
    return Source(title, CommentedMap())


def split_override(text: str) -> tuple[list[str], object]:
    """The dotted key's parts and the value, read as YAML, of `step.key=value`.

    Raises:
        LmwrightError: if there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise LmwrightError(
            f"override {text}: this is not key=value",
            hint="write budget=3m, or step.key=value as in base.learning_rate=1e-3",
        )
    try:
        return parts, _plain(YAML().load(value))
    except YAMLError as error:
        raise _yaml_error(f"override {text}", error) from error


def write_yaml(values: Mapping[str, Any]) -> str:
    """`values` as block-style YAML."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def validate(
    model: type[M],
    values: Mapping[str, Any],
    *,
    source: Source,
    path: Location,
    owner: str,
    title: str,
) -> M:
    """`model` made from `values`; the first problem becomes an error that points at its source.

    Args:
        model: the config to make.
        values: plain values.
        source: where they came from.
        path: where in the source they stand.
        owner: prefix that names the keys to the person, such as the step's name; may be empty.
        title: what the keys belong to, such as "training.pretrain".
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [
            _problem(dict(problem), model, source, path, owner, title)
            for problem in error.errors(include_url=False)
        ]
        first, others = problems[0], problems[1:]
        hints = [first.hint, *(f"also: {other.what}" for other in others)]
        raise LmwrightError(first.what, hint="\n       ".join(h for h in hints if h) or None) from (
            None
        )


def _problem(
    problem: Mapping[str, Any],
    model: type[BaseModel],
    source: Source,
    path: Location,
    owner: str,
    title: str,
) -> LmwrightError:
    location: Location = problem["loc"]
    message: str = problem["msg"]
    key = ".".join(str(part) for part in ((owner, *location) if owner else location))
    full = (*path, *location)
    if problem["type"] == "extra_forbidden":
        hint = nearest(str(location[-1]), _keys_at(model, location[:-1]))
        return source.error(full, f"{key} is not a key of {title}", hint)
    if problem["type"] == "missing":
        return source.error(full, f"{key} is missing; {title} needs it")
    value = problem["input"]
    if message.startswith("Input should be"):
        rest = message.removeprefix("Input ")
        return source.error(full, f"{key} {rest}, not {_shown(value)}")
    return source.error(full, f"{key}: {message.removeprefix('Value error, ')}")


def _keys_at(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """Field names of the configs that stand at `location` below `model`."""
    models = [model]
    for part in location:
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        inner = [m for f in fields for m in _models_in(f.annotation)]
        # Indices and the tags of unions lead to the same configs.
        models = inner or models
    return [name for m in models for name in m.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _yaml_error(title: str, error: YAMLError) -> LmwrightError:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        line = error.problem_mark.line + 1
        problem = (error.problem or "it is not YAML").splitlines()[0]
        return LmwrightError(f"{title}, line {line}: {problem}")
    return LmwrightError(f"{title}: {str(error).splitlines()[0]}")


def _kind(value: object) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_PLAIN: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (bool, bool),
    (int, int),
    (float, float),
    (str, str),
)


def _plain(value: Any) -> Any:
    """ruamel's values without their line numbers and formats."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for kind, convert in _PLAIN:
        if isinstance(value, kind):
            return convert(value)
    return cast(object, value)

"""Published families: each one small module of data beside this one, found by its name."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import HeadConfig, Task, TransformerConfig

if TYPE_CHECKING:
    from lmwright.models.families.naming import Weight

_ABSENT = object()
_MACHINERY = frozenset({"naming", "llama_like", "fused"})

# Keys of config.json that say what a head is for.
_LABELS = ("id2label", "num_labels", "label2id", "problem_type")


def _unchanged(values: dict[str, Any]) -> dict[str, Any]:
    return values


@dataclass(frozen=True)
class Head:
    """What a family publishes on top of its stack for one task.

    Args:
        architecture: class by which transformers opens it.
        layout: fields of `HeadConfig` that this family's head has.
        weights: names beyond the stack's.
        prefixed: whether the stack's weights carry the family's prefix.
        changes: fields of `TransformerConfig` that differ from the family's with this head.
    """

    architecture: str
    layout: Mapping[str, Any] = field(default_factory=dict)
    weights: "tuple[Weight, ...]" = ()
    prefixed: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """How a published family writes down what our blocks compute.

    Places in config.json are dotted: `rope_parameters.rope_theta`.
    """

    model_type: str
    """`model_type` in its config.json."""
    heads: Mapping[Task, Head]
    """What it is published for; the first is what a config.json without architectures means."""
    fields: Mapping[str, tuple[str, ...]]
    """Field of `TransformerConfig` -> its places, newest first; the first one is written."""
    defaults: Mapping[str, Any]
    """What the reference assumes for a field where config.json is silent; fields that are neither
    there nor here are required."""
    fixed: Mapping[str, Any]
    """Place -> the only value our blocks support, assumed where silent and written unless None."""
    weights: "tuple[Weight, ...]"
    """Names of the stack's weights, the published ones without `prefix`."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TransformerConfig` that are the same in the whole family."""
    prefix: str = ""
    """What stands before the stack's names where a head is published with it, such as `model.`."""
    ignored: tuple[str, ...] = ()
    """Regular expressions of published names that hold nothing to learn (old buffers)."""
    derived: frozenset[str] = frozenset()
    """Fields that `settle_read` makes and `settle_written` writes, beyond `fields`."""
    settle_read: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    """Last word on the fields read, where one key of config.json governs others."""
    extras: tuple[str, ...] = ()
    """Top-level keys handed to `settle_read` as they are; it must remove them."""
    settle_written: Callable[[dict[str, Any], TransformerConfig], dict[str, Any]] | None = None
    """Last word on the content of config.json."""

    def read_config(self, values: Mapping[str, Any], task: Task | None = None) -> dict[str, Any]:
        """Arguments of `TransformerConfig` from the content of config.json.

        Args:
            values: the content.
            task: what the model is wanted for; None: what `architectures` says.

        Raises:
            LmwrightError: naming the key that is missing, or asks for what our blocks lack.
        """
        for place, supported in self.fixed.items():
            value = _look_up(values, place)
            if value is not _ABSENT and value != supported:
                raise LmwrightError(
                    f"config.json: {place} is {value!r}; only {supported!r} is supported "
                    f"for {self.model_type}"
                )
        result: dict[str, Any] = {"model_type": self.model_type} | dict(self.constants)
        for name, places in self.fields.items():
            found = [v for v in (_look_up(values, p) for p in places) if v is not _ABSENT]
            if found:
                result[name] = found[0]
            elif name in self.defaults:
                result[name] = self.defaults[name]
            else:
                raise LmwrightError(
                    f"config.json has no {places[0]}, which {self.model_type} needs"
                )
        for key in self.extras:
            if key in values:
                result[key] = values[key]
        result = self.settle_read(result)
        wanted = task or self.task_of(values)
        head = self.head(wanted)
        result |= head.changes
        if wanted != next(iter(self.heads)) or head.layout:
            result["head"] = self._head_config(wanted, values)
        return result

    def task_of(self, values: Mapping[str, Any]) -> Task:
        """What the published model is for, by `architectures`."""
        for name in values.get("architectures") or ():
            for task, head in self.heads.items():
                if head.architecture == name:
                    return task
        return next(iter(self.heads))

    def head(self, task: Task) -> Head:
        """The family's head for a task.

        Raises:
            LmwrightError: if it has none.
        """
        if task not in self.heads:
            raise LmwrightError(
                f"{self.model_type} has no head for {task}",
                hint=f"it has: {', '.join(self.heads)}",
            )
        return self.heads[task]

    def write_config(self, config: TransformerConfig) -> dict[str, Any]:
        """The content of config.json.

        Raises:
            LmwrightError: if the family cannot express a field of the config.
        """
        head = self.head(config.task)
        self._check_expressible(config, head)
        fields = config.model_dump(mode="json")
        result: dict[str, Any] = {
            "architectures": [head.architecture],
            "model_type": self.model_type,
        }
        for place, value in self.fixed.items():
            if value is not None:
                _put(result, place, value)
        for name, places in self.fields.items():
            _put(result, places[0], fields[name])
        if config.head is not None and config.task not in ("masked_lm", "backbone", "embedding"):
            labels = config.head.labels or tuple(
                f"LABEL_{i}" for i in range(config.head.num_labels)
            )
            result["id2label"] = {str(i): label for i, label in enumerate(labels)}
            result["label2id"] = {label: i for i, label in enumerate(labels)}
        if self.settle_written is not None:
            result = self.settle_written(result, config)
        return result

    def table(self, task: Task) -> "tuple[Weight, ...]":
        """Names of all weights of a model for `task`; published stack names without prefix."""
        return (*self.head(task).weights, *self.weights)

    def fresh(self, **shape: Any) -> dict[str, Any]:
        """Arguments of `TransformerConfig` for a new model of this family with a given shape."""
        known = {n: v for n, v in self.defaults.items() if v is not None}
        settled = self.settle_read(dict(self.constants) | known | shape)
        first = next(iter(self.heads.values()))
        return {"model_type": self.model_type} | settled | dict(first.changes) | shape

    def _head_config(self, task: Task, values: Mapping[str, Any]) -> HeadConfig:
        names = values.get("id2label")
        labels: tuple[str, ...] = ()
        if isinstance(names, Mapping):
            labels = tuple(str(names[key]) for key in sorted(names, key=lambda key: int(key)))
        count = len(labels) or int(values.get("num_labels") or 2)
        layout = dict(self.head(task).layout)
        dropout = layout.pop("dropout", 0.0)
        if isinstance(dropout, str):  # a key of config.json, with others to fall back on
            found = (values.get(key) for key in dropout.split("|"))
            dropout = next((value for value in found if value is not None), 0.1)
        return HeadConfig(task=task, labels=labels, num_labels=count, dropout=dropout, **layout)

    def _check_expressible(self, config: TransformerConfig, head: Head) -> None:
        plain = {name: field.default for name, field in type(config).model_fields.items()}
        given = plain | dict(self.constants) | dict(head.changes)
        own = {*self.fields, *self.derived, "model_type", "head", "layer_types"}
        for name, value in config.model_dump().items():
            if name not in own and value != given[name]:
                raise LmwrightError(
                    f"{self.model_type} cannot express {name} {value!r} (it has {given[name]!r})",
                    hint="keep the family that the model has",
                )


def names() -> list[str]:
    """The model types that can be read and written."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name not in _MACHINERY)


def named(model_type: str) -> Family:
    """The family of that name.

    Raises:
        LmwrightError: if we have none.
    """
    if model_type not in names():
        nearest = difflib.get_close_matches(model_type, names(), n=3)
        meant = f"did you mean {' or '.join(nearest)}? " if nearest else ""
        raise LmwrightError(
            f"config.json: model_type {model_type!r} is not a family we have",
            hint=f"{meant}known families: {', '.join(names())}; any other trains with "
            "`implementation: transformers`",
        )
    family = importlib.import_module(f"{__name__}.{model_type}").FAMILY
    assert isinstance(family, Family)
    return family


def find(values: Mapping[str, Any]) -> Family:
    """The family that `model_type` in the content of a config.json names.

    Raises:
        LmwrightError: if it names none, or one we do not have.
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise LmwrightError("config.json does not say which model_type it describes")
    return named(model_type)


def _look_up(values: Mapping[str, Any], place: str) -> Any:
    value: Any = values
    for key in place.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _put(values: dict[str, Any], place: str, value: Any) -> None:
    *outer, last = place.split(".")
    for key in outer:
        values = values.setdefault(key, {})
    values[last] = value

"""Published families: each one small module of data beside this one, found by its name."""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmwright.core.errors import LmwrightError
from lmwright.models.config import HeadConfig, Task, TransformerConfig
from lmwright.models.families import numbers

if TYPE_CHECKING:
    from lmwright.models.families.naming import Weight

_ABSENT = object()
_OWN_OUTPUT = ("causal_lm", "sequence_to_sequence")
"""Tasks of models that are more than a backbone and a head."""
_MACHINERY = frozenset(
    {"naming", "numbers", "activation", "llama_like", "fused", "rope", "windows"}
    | {"bert_like", "bart_like"}
)

OWN_HEAD = "lmwright_head"
"""Key of config.json under which we write what the published keys cannot say of a head: its `task`
(such as `embedding` or `reward`, for which transformers has no class of its own) and those fields
of `HeadConfig` that a reader of the published keys alone would get wrong (`crf`, `pooling` ...).
Other readers pass over it."""
_OURS_ALONE: frozenset[Task] = frozenset({"embedding", "reward"})
_NAMELESS: frozenset[Task] = frozenset({"masked_lm", "span_qa", "embedding", "backbone"})

# Keys of config.json that say what a head is for.
_LABELS = ("id2label", "num_labels", "label2id", "problem_type")


def _unchanged(values: dict[str, Any]) -> dict[str, Any]:
    return values


def _layout_unchanged(
    layout: dict[str, Any], values: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    return layout


@dataclass(frozen=True)
class Head:
    """What a family publishes on top of its stack for one task.

    Args:
        architecture: class by which transformers opens it.
        layout: fields of `HeadConfig` that this family's head has. `dropout` may be the key of
            config.json that holds it, others to fall back on after `|`, a default after `=`.
        weights: names beyond the stack's.
        prefixed: whether the stack's weights carry the family's prefix.
        changes: fields of `TransformerConfig` that differ from the family's with this head.
        ignored: regular expressions of published names that may stand beside and are left out.
        carried: the same of names that are kept with the model and written again, though it does
            not compute with them: other readers would miss them.
        copies: (name, copy) of weights that are published twice; where they differ, the copy
            counts.
        stack: names of the stack's weights, where it is not the family's usual one.
        also: further classes whose folders are read as this one.
    """

    architecture: str
    layout: Mapping[str, Any] = field(default_factory=dict)
    weights: "tuple[Weight, ...]" = ()
    prefixed: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    stack: "tuple[Weight, ...] | None" = None
    also: tuple[str, ...] = ()


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
    """Place -> the only value our blocks support, assumed where silent and written unless None; or
    a tuple of those, the first of which is written."""
    weights: "tuple[Weight, ...]"
    """Names of the stack's weights, the published ones without `prefix`."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TransformerConfig` that are the same in the whole family."""
    prefix: str = ""
    """What stands before the stack's names where a head is published with it, such as `model.`."""
    ignored: tuple[str, ...] = ()
    """Regular expressions of published names that hold nothing to learn (old buffers)."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(regular expression, replacement) for names that some files have otherwise."""
    settle_read: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    """Last word on the fields read, where one key of config.json governs others."""
    extras: tuple[str, ...] = ()
    """Top-level keys handed to `settle_read` as they are (or their value in `defaults`); it must
    remove them. A new model has none: its fields come under our names."""
    settle_head: Callable[
        [dict[str, Any], Mapping[str, Any], Mapping[str, Any]], dict[str, Any]
    ] = _layout_unchanged
    """Last word on a head's layout: (layout, content of config.json, fields read) -> layout."""
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
            allowed = supported if isinstance(supported, tuple) else (supported,)
            if value is not _ABSENT and value not in allowed:
                raise LmwrightError(
                    f"config.json: {place} is {value!r}; only {allowed[0]!r} is supported "
                    f"for {self.model_type}"
                )
        result: dict[str, Any] = {"model_type": self.model_type} | dict(self.constants)
        for name, places in self.fields.items():
            found = [(p, v) for p in places if (v := _look_up(values, p)) is not _ABSENT]
            if found:
                result[name] = numbers.checked(name, *found[0])
            elif name in self.defaults:
                result[name] = self.defaults[name]
            else:
                raise LmwrightError(
                    f"config.json has no {places[0]}, which {self.model_type} needs"
                )
        for key in self.extras:
            if key in values or key in self.defaults:
                result[key] = values.get(key, self.defaults.get(key))
        result = self.settle_read(result)
        wanted = task or self.task_of(values)
        if wanted is None:
            known = {head.architecture: None for head in self.heads.values()}
            raise LmwrightError(
                f"config.json: architectures names {values['architectures'][0]}, a class of "
                f"{self.model_type} that we lack",
                hint=f"known: {', '.join(known)}; models.load(..., task=...) opens its stack alone",
            )
        head = self.head(wanted)
        result |= head.changes
        if wanted not in _OWN_OUTPUT:
            result["head"] = self._head_config(wanted, values, result)
        return result

    def task_of(self, values: Mapping[str, Any]) -> Task | None:
        """What the published model is for, by our own key or by `architectures`.

        None: for something that we lack. Where nothing is named, the family's first task.

        Raises:
            LmwrightError: if `architectures` is no list.
        """
        own = values.get(OWN_HEAD)
        if isinstance(own, Mapping) and own.get("task") in self.heads:
            return own["task"]  # type: ignore[no-any-return]
        named = values.get("architectures") or ()
        if not isinstance(named, (list, tuple)):
            raise LmwrightError(f"config.json: architectures is {named!r}, not a list of names")
        for name in named:
            for task, head in self.heads.items():
                if name in (head.architecture, *head.also) and task not in _OURS_ALONE:
                    return task
        return None if named else next(iter(self.heads))

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
        fields = config.model_dump(mode="json")
        result: dict[str, Any] = {
            "architectures": [head.architecture],
            "model_type": self.model_type,
        }
        for place, supported in self.fixed.items():
            value = supported[0] if isinstance(supported, tuple) else supported
            if value is not None:
                _put(result, place, value)
        for name, places in self.fields.items():
            _put(result, places[0], fields[name])
        if config.head is not None and config.task not in _NAMELESS:
            labels = config.head.labels or _default_labels(config.head.num_labels)
            result["id2label"] = {str(i): label for i, label in enumerate(labels)}
            result["label2id"] = {label: i for i, label in enumerate(labels)}
        if config.head is not None and isinstance(head.layout.get("dropout"), str):
            key = re.split(r"[|=]", head.layout["dropout"])[0]
            if not any(key in places for places in self.fields.values()):
                result[key] = config.head.dropout
        if self.settle_written is not None:
            result = self.settle_written(result, config)
        if config.head is not None:
            result |= self._own_head(config.head, result, fields)
        self._check_expressed(config, result)
        return result

    def table(self, task: Task) -> "tuple[Weight, ...]":
        """Names of all weights of a model for `task`; published stack names without prefix."""
        head = self.head(task)
        return (*head.weights, *(self.weights if head.stack is None else head.stack))

    def fresh(self, task: Task | None = None, **shape: Any) -> dict[str, Any]:
        """Arguments of `TransformerConfig` for a new model of this family with a given shape.

        Args:
            task: what it is for; None: what the family is published for first.
            **shape: fields of `TransformerConfig`; what is left out is the reference's default.
        """
        wanted: Task = next(iter(self.heads)) if task is None else task
        head = self.head(wanted)
        known = {
            name: value
            for name, value in self.defaults.items()
            if name in self.fields and not (name in shape or name.endswith("_token_id"))
        }
        ids = {name: self.defaults[name] for name in self.fields if name.endswith("_token_id")}
        size = shape.get("vocab_size", 0)
        # A published model's special tokens may lie beyond a new one's vocabulary.
        known |= {n: i if i is None or i < size else None for n, i in ids.items()}
        start = {"model_type": self.model_type} | dict(self.constants) | known | shape
        given = {name: value for name, value in shape.items() if value is not None}
        result = self.settle_read(start) | dict(head.changes) | given
        if wanted not in _OWN_OUTPUT:
            result.setdefault("head", self._head_config(wanted, {}, result))
        return result

    def _head_config(
        self, task: Task, values: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> HeadConfig:
        """The head for `task`, by the content of config.json and the fields read from it."""
        layout = dict(self.head(task).layout)
        if isinstance(keys := layout.get("dropout"), str):
            keys, _, default = keys.partition("=")
            found = (values.get(key) for key in keys.split("|"))
            first = next((value for value in found if value is not None), None)
            layout["dropout"] = float(default or 0.1) if first is None else first
        layout = self.settle_head(layout, values, fields)
        if task not in _NAMELESS:
            names = values.get("id2label")
            labels: tuple[str, ...] = ()
            if isinstance(names, Mapping):
                labels = tuple(str(names[key]) for key in sorted(names, key=int))
            count = len(labels) or values.get("num_labels") or layout.get("num_labels", 2)
            named = labels != _default_labels(len(labels))
            layout |= {"num_labels": count, "labels": labels if named else ()}
        if task == "reward":
            layout |= {"num_labels": 1, "labels": ()}
        own = values.get(OWN_HEAD)
        if isinstance(own, Mapping) and own.get("task") == task:
            layout |= own
        return HeadConfig.model_validate({"task": task} | layout)

    def _own_head(
        self, head: HeadConfig, values: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Our key of config.json, where the published ones do not say all of `head`."""
        task = self.task_of(values)
        assert task is not None, "a family names classes of its own"
        read = self._head_config(task, values, fields).model_dump(mode="json")
        given = head.model_dump(mode="json")
        differing = {name: value for name, value in given.items() if value != read[name]}
        return {OWN_HEAD: {"task": head.task} | differing} if differing else {}

    def _check_expressed(self, config: TransformerConfig, values: Mapping[str, Any]) -> None:
        """Read again what was written: nothing of the config may be lost."""
        read = TransformerConfig.model_validate(self.read_config(values, config.task))
        for name, (given, again) in _differences(_meaning(config), _meaning(read)).items():
            raise LmwrightError(
                f"{self.model_type} cannot express {name} {given!r}: it would be read as {again!r}",
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


def _meaning(config: TransformerConfig) -> dict[str, Any]:
    """All fields, but for those that change nothing in this config."""
    values = config.model_dump(mode="json", exclude={"head"})
    if values["experts"] is not None:
        del values["experts"]["rounded_weights"]  # the same but for rounding
    unused = []
    if "sliding_attention" not in config.layer_types:
        unused += ["sliding_window", "rope_local_theta"]
    if config.positions != "rotary":
        unused += ["rope_theta", "rope_local_theta", "rope_scaling", "rotary_dim"]
    if config.rotary_dim == config.head_dim:
        unused += ["rotary_dim"]
    if config.attention_scale == config.head_dim**-0.5:
        unused += ["attention_scale"]
    return values | dict.fromkeys(unused)


def _differences(given: Any, read: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of what differs -> both values."""
    if not (isinstance(given, dict) and isinstance(read, dict)):
        return {} if given == read else {name: (given, read)}
    return {
        place: both
        for key in given
        for place, both in _differences(
            given[key], read.get(key), f"{name}.{key}" if name else key
        ).items()
    }


def _default_labels(count: int) -> tuple[str, ...]:
    """What transformers calls labels that have no names."""
    return tuple(f"LABEL_{i}" for i in range(count))


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

"""Published families: each one small module of data beside this one, found by its name."""

import dataclasses
import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any

from lmwright.core.errors import LmwrightError

_ABSENT = object()


def _unchanged(values: dict[str, Any]) -> dict[str, Any]:
    return values


@dataclasses.dataclass(frozen=True)
class Family:
    """How a published family writes down what our blocks compute.

    Places in config.json are dotted: `rope_parameters.rope_theta`.
    """

    model_type: str
    """`model_type` in its config.json."""
    architecture: str
    """Class by which transformers opens it."""
    fields: Mapping[str, tuple[str, ...]]
    """Field of `TransformerConfig` -> its places, newest first; the first one is written."""
    defaults: Mapping[str, Any]
    """What the reference assumes for a field where config.json is silent; fields that are neither
    there nor here are required."""
    fixed: Mapping[str, Any]
    """Place -> the only value our blocks support, assumed where silent and written unless None."""
    weights: tuple[tuple[str, str], ...]
    """Rewritings of a weight's name, ours -> published: (regular expression, replacement)."""
    published: tuple[tuple[str, str], ...]
    """Rewritings back, published -> ours."""
    settle_read: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    """Last word on the fields read, where one key of config.json governs others."""
    extras: tuple[str, ...] = ()
    """Top-level keys handed to `settle_read` as they are; it must remove them."""
    settle_written: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    """Last word on the content of config.json."""

    def read_config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `TransformerConfig` from the content of config.json.

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
        result: dict[str, Any] = {"model_type": self.model_type}
        for field, places in self.fields.items():
            found = [v for v in (_look_up(values, p) for p in places) if v is not _ABSENT]
            if found:
                result[field] = found[0]
            elif field in self.defaults:
                result[field] = self.defaults[field]
            else:
                raise LmwrightError(
                    f"config.json has no {places[0]}, which {self.model_type} needs"
                )
        for key in self.extras:
            if key in values:
                result[key] = values[key]
        return self.settle_read(result)

    def write_config(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The content of config.json for the fields of a `TransformerConfig`."""
        result: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": self.model_type,
        }
        for place, value in self.fixed.items():
            if value is not None:
                _put(result, place, value)
        for field, places in self.fields.items():
            _put(result, places[0], fields[field])
        return self.settle_written(result)

    def published_name(self, name: str) -> str:
        """The published name of our weight `name`."""
        return _rewrite(name, self.weights)

    def our_name(self, name: str) -> str:
        """Our name of the published weight `name`."""
        return _rewrite(name, self.published)


def names() -> list[str]:
    """The model types that can be read and written."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(values: Mapping[str, Any]) -> Family:
    """The family that `model_type` in the content of a config.json names.

    Raises:
        LmwrightError: if it names none, or one we do not have.
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise LmwrightError("config.json does not say which model_type it describes")
    if model_type not in names():
        nearest = difflib.get_close_matches(model_type, names(), n=1)
        meant = f"did you mean {nearest[0]}? " if nearest else ""
        raise LmwrightError(
            f"config.json: model_type {model_type!r} is not a family we have",
            hint=f"{meant}known families: {', '.join(names())}",
        )
    family = importlib.import_module(f"{__name__}.{model_type}").FAMILY
    assert isinstance(family, Family)
    return family


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


def _rewrite(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name

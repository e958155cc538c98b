"""Our weights' names and the published ones: templates, and what happens to the numbers between.

A template is a dotted name with `{i}` for the number of a block, `{e}` for the number of an expert
and `{p}` for the last part (`weight`, `bias`, or what quantisation put beside them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a config is read without loading torch
    from torch import Tensor

    from lmwright.models.config import TransformerConfig

    Convert = Callable[[Sequence[Tensor], TransformerConfig], Sequence[Tensor]]

_FIELDS = {"i": r"\d+", "e": r"\d+", "p": r"\w+"}


@dataclass(frozen=True)
class Weight:
    """One weight (or several that are stored as one) here and there.

    Args:
        ours: templates of our names.
        published: templates of the published names. Where these have `{e}` and ours have not, the
            tensors of all experts, in order, are one list.
        read: published tensors -> ours, in the order of the templates; None: the same tensors.
        write: our tensors -> published ones.
        prefixed: for a head's weight: whether it is published with the stack's prefix.
        when: which configs have it under these names; None: all.
    """

    ours: str | tuple[str, ...]
    published: str | tuple[str, ...]
    read: Convert | None = None
    write: Convert | None = None
    prefixed: bool = False
    when: Callable[[TransformerConfig], bool] | None = None

    @property
    def our_names(self) -> tuple[str, ...]:
        """`ours` as a tuple."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours

    @property
    def published_names(self) -> tuple[str, ...]:
        """`published` as a tuple."""
        return (self.published,) if isinstance(self.published, str) else self.published


def read(
    weights: Mapping[str, Tensor], table: Sequence[Weight], config: TransformerConfig
) -> dict[str, Tensor]:
    """Published weights under our names; what no template matches keeps its name."""
    return _translate(weights, table, config, reading=True)


def write(
    weights: Mapping[str, Tensor], table: Sequence[Weight], config: TransformerConfig
) -> dict[str, Tensor]:
    """Our weights under their published names; what no template matches keeps its name."""
    return _translate(weights, table, config, reading=False)


def matches(name: str, templates: Iterable[str]) -> bool:
    """Whether one of the templates stands for this name."""
    return any(_pattern(template).fullmatch(name) for template in templates)


def published_name(name: str, table: Sequence[Weight]) -> str:
    """The (first) published name of our weight `name`, for messages."""
    for weight in table:
        for place, source in enumerate(weight.our_names):
            if (found := _pattern(source).fullmatch(name)) is not None:
                published = weight.published_names
                same = len(published) == len(weight.our_names)
                target = published[place] if same else published[0]
                return target.format(**({"e": 0} | found.groupdict()))
    return name


def our_name(name: str, table: Sequence[Weight]) -> str:
    """Our (first) name of the published weight `name`."""
    return our_names(name, table)[0]


def our_names(name: str, table: Sequence[Weight]) -> tuple[str, ...]:
    """All of our names of what the published weight `name` holds, whole or in part."""
    for weight in table:
        for place, source in enumerate(weight.published_names):
            if (found := _pattern(source).fullmatch(name)) is not None:
                ours = weight.our_names
                same = len(ours) == len(weight.published_names)
                targets = (ours[place],) if same else ours
                return tuple(target.format(**found.groupdict()) for target in targets)
    return (name,)


def _translate(
    weights: Mapping[str, Tensor],
    table: Sequence[Weight],
    config: TransformerConfig,
    *,
    reading: bool,
) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    groups: dict[tuple[int, tuple[tuple[str, str], ...]], dict[tuple[int, int], str]] = {}
    for name in weights:
        place = _place(name, table, reading)
        if place is None:
            result[name] = weights[name]
            continue
        entry, part, fields = place
        gathers = not any("{e}" in t for t in _sides(table[entry], reading)[1])
        expert = int(fields.pop("e")) if gathers and "e" in fields else 0
        key = (entry, tuple(sorted(fields.items())))
        groups.setdefault(key, {})[part, expert] = name
    for (entry, bound), names in groups.items():
        result |= _convert(weights, table[entry], dict(bound), names, config, reading)
    return result


def _convert(
    weights: Mapping[str, Tensor],
    weight: Weight,
    fields: dict[str, str],
    names: Mapping[tuple[int, int], str],
    config: TransformerConfig,
    reading: bool,
) -> dict[str, Tensor]:
    sources, targets = _sides(weight, reading)
    gathers = any("{e}" in t for t in sources) and not any("{e}" in t for t in targets)
    number = config.experts.num_experts if gathers and config.experts is not None else 1
    if names.keys() != {(part, e) for part in range(len(sources)) for e in range(number)}:
        # Incomplete: left as it is, so that what is missing and what is left over can be named.
        return {name: weights[name] for name in names.values()}
    given = [weights[names[key]] for key in sorted(names)]
    convert = weight.read if reading else weight.write
    made = list(given if convert is None else convert(given, config))
    scattered = any("{e}" in t for t in targets) and "e" not in fields
    each = len(made) // len(targets)
    result = {}
    for number, tensor in enumerate(made):
        part, expert = divmod(number, each)
        name = targets[part].format(**fields, **({"e": expert} if scattered else {}))
        result[name] = tensor
    return result


def _place(
    name: str, table: Sequence[Weight], reading: bool
) -> tuple[int, int, dict[str, str]] | None:
    for entry, weight in enumerate(table):
        for part, template in enumerate(_sides(weight, reading)[0]):
            if (found := _pattern(template).fullmatch(name)) is not None:
                return entry, part, found.groupdict()
    return None


def _sides(weight: Weight, reading: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ours, published = weight.our_names, weight.published_names
    return (published, ours) if reading else (ours, published)


@lru_cache(maxsize=4096)
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", template)
    return re.compile(
        "".join(
            f"(?P<{part}>{_FIELDS[part]})" if odd else re.escape(part)
            for part, odd in zip(parts, [False, True] * len(parts), strict=False)
        )
    )

"""Recipes: a YAML list of steps, checked whole before step 1 and without loading torch."""

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import (
    find_step_type,
    nearest,
    step_type_names,
    unknown_step_type,
)
from lmwright.pipeline.source import (
    Location,
    Source,
    empty_source,
    read_source,
    split_override,
    validate,
    write_yaml,
)
from lmwright.pipeline.step import StepType
from lmwright.pipeline.wiring import wire

# A step's name is a folder's name and the first part of an override.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Step:
    """A step of a recipe, validated.

    Args:
        name: unique in the recipe.
        type: what kind of step.
        config: its config.
        inputs: for every input of the type, where it may come from, best first: the name of an
            earlier step, or a folder outside the run. Empty where an optional input has no source.
        share: weight of this step in the division of the time budget; None: it takes what it takes.
        reserve: seconds of the budget kept back for it.
    """

    name: str
    type: StepType
    config: Config
    inputs: Mapping[str, tuple[str | Path, ...]] = field(default_factory=dict)
    share: float | None = None
    reserve: float = 0.0

    @property
    def own_budget(self) -> Duration | None:
        """The budget in the step's own config; its `share` is then ignored."""
        budget = getattr(self.config, "budget", None)
        return budget if isinstance(budget, Duration) else None

    @property
    def trains_on_share(self) -> bool:
        """Whether the recipe's budget decides how long this step takes."""
        return self.share is not None and self.own_budget is None


@dataclass(frozen=True)
class Recipe:
    """A whole recipe, validated.

    Args:
        name: of the recipe; the run's folder is called so unless told otherwise.
        description: one line.
        steps: in the order they run.
        budget: seconds for all of it, or None.
        final: steps whose model becomes the run's, best first; empty: the last model.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    budget: float | None = None
    final: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """The resolved recipe: every key with its value; loads to an equal recipe."""
        values: dict[str, Any] = {"name": self.name, "description": self.description}
        if self.budget is not None:
            values["budget"] = str(Duration(self.budget, "seconds"))
        values["steps"] = [_step_values(step) for step in self.steps]
        if self.final:
            values["final"] = list(self.final)
        return write_yaml(values)


class _StepKeys(Config):
    """The keys of a step that are not its config's."""

    name: str
    step: str
    share: float | None = Field(None, gt=0)
    reserve: Duration | None = None
    inputs: dict[str, str | list[str]] = Field(default_factory=dict)


class _RecipeKeys(Config):
    """The keys of a recipe."""

    name: str | None = None
    description: str = ""
    budget: Duration | None = None
    steps: list[dict[str, Any]] = Field(min_length=1)
    final: str | list[str] = Field(default_factory=list)


RESERVED = frozenset(_StepKeys.model_fields)
"""Keys of a step that no config may have as fields."""


def recipe_names() -> list[str]:
    """Recipes that come with the package."""
    folder = importlib.resources.files("lmwright") / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[-5:] == ".yaml")


def load_recipe(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or path, or a one-step recipe of that step, with overrides applied.

    Args:
        reference: "quickstart", "folder/mine.yaml" or "training.pretrain".
        overrides: `budget=3m`, `step.key=value`; for a single step `key=value` and
            `input.NAME=FOLDER`.

    Raises:
        LmwrightError: for whatever is wrong with it, pointing at file and line or the override.
    """
    path = Path(reference)
    if path.suffix in (".yaml", ".yml"):
        return _resolve(_read_with_overrides(path, overrides), path.stem)
    if reference in recipe_names():
        packaged = importlib.resources.files("lmwright") / "recipes" / f"{reference}.yaml"
        with importlib.resources.as_file(packaged) as file:
            return _resolve(_read_with_overrides(file, overrides), reference)
    if step_type := find_step_type(reference):
        return _resolve(_single_step(step_type, overrides), reference)
    names = [*recipe_names(), *step_type_names()]
    raise LmwrightError(
        f"there is no recipe or step {reference}",
        hint=f"{nearest(reference, names)} A recipe of your own is a path that ends in .yaml",
    )


def _read_with_overrides(path: Path, overrides: Sequence[str]) -> Source:
    source = read_source(path)
    steps = source.values.get("steps")
    names = [s.get("name") if isinstance(s, dict) else None for s in steps or []]
    for text in overrides:
        (first, *rest), value = split_override(text)
        if not rest:
            if first not in _RecipeKeys.model_fields:
                raise LmwrightError(
                    f"override {text}: {first} is not a key of a recipe",
                    hint=nearest(first, [*_RecipeKeys.model_fields, *filter(None, names)])
                    + " A step's key is written step.key=value",
                )
            source.set((first,), value, text)
        elif first in names:
            source.set(("steps", names.index(first), *rest), value, text)
        else:
            raise LmwrightError(
                f"override {text}: the recipe has no step {first}",
                hint=nearest(first, filter(None, names)),
            )
    return source


def _single_step(step_type: StepType, overrides: Sequence[str]) -> Source:
    source = empty_source("command line")
    name = step_type.name.rpartition(".")[2]
    source.values["name"] = step_type.name
    source.values["steps"] = [{"name": name, "step": step_type.name, "share": 1.0}]
    for text in overrides:
        (first, *rest), value = split_override(text)
        if first == "input" and len(rest) == 1:
            source.set(("steps", 0, "inputs", *rest), value, text)
        elif first == "budget" and not rest and first not in step_type.config.model_fields:
            source.set((first,), value, text)
        else:
            source.set(("steps", 0, first, *rest), value, text)
    return source


def _resolve(source: Source, name: str) -> Recipe:
    keys = validate(_RecipeKeys, source.values, source=source, path=(), owner="", title="a recipe")
    if keys.budget is not None and keys.budget.unit != "seconds":
        raise source.error(("budget",), f"budget={keys.budget} is no time", "write it as budget=6m")
    steps: list[Step] = []
    for index, values in enumerate(keys.steps):
        steps.append(_resolve_step(source, ("steps", index), values, steps))
    final = (keys.final,) if isinstance(keys.final, str) else tuple(keys.final)
    models = [step.name for step in steps if step.type.output == "model"]
    for wrong in (step for step in final if step not in models):
        raise source.error(
            ("final",), f"final: {wrong} is no step that gives a model", nearest(wrong, models)
        )
    return Recipe(
        name=keys.name or name,
        description=keys.description,
        steps=tuple(steps),
        budget=None if keys.budget is None else keys.budget.amount,
        final=final,
    )


def _resolve_step(
    source: Source, path: Location, values: Mapping[str, Any], earlier: Sequence[Step]
) -> Step:
    own = {key: value for key, value in values.items() if key in RESERVED}
    label = str(values.get("name", f"step {len(earlier) + 1}"))
    keys = validate(_StepKeys, own, source=source, path=path, owner=label, title="every step")
    if not _NAME.fullmatch(keys.name):
        raise source.error(
            (*path, "name"), f"{keys.name!r} cannot name a step", "use letters, digits, - and _"
        )
    if any(step.name == keys.name for step in earlier):
        raise source.error((*path, "name"), f"two steps are called {keys.name}")
    step_type = find_step_type(keys.step)
    if step_type is None:
        unknown = unknown_step_type(keys.step)
        raise source.error((*path, "step"), unknown.what, unknown.hint)
    clash = RESERVED & set(step_type.config.model_fields)
    assert not clash, f"{step_type.name}: its config may not have the reserved keys {clash}"
    if keys.reserve is not None and keys.reserve.unit != "seconds":
        raise source.error((*path, "reserve"), f"{keys.name}.reserve={keys.reserve} is no time")
    config = validate(
        step_type.config,
        {key: value for key, value in values.items() if key not in RESERVED},
        source=source,
        path=path,
        owner=keys.name,
        title=step_type.name,
    )
    kinds = {step.name: step.type.output for step in earlier}
    return Step(
        name=keys.name,
        type=step_type,
        config=config,
        inputs=wire(source, path, keys.name, keys.inputs, step_type, kinds),
        share=keys.share,
        reserve=0.0 if keys.reserve is None else keys.reserve.amount,
    )


def _step_values(step: Step) -> dict[str, Any]:
    values: dict[str, Any] = {"name": step.name, "step": step.type.name}
    values |= step.config.model_dump(mode="json")
    if step.share is not None:
        values["share"] = step.share
    if step.reserve:
        values["reserve"] = str(Duration(step.reserve, "seconds"))
    if step.inputs:
        values["inputs"] = {
            name: [str(c) for c in candidates] for name, candidates in step.inputs.items()
        }
    return values

"""What a step takes, gives and may be told, for `lmwright run STEP --help` and the docs."""

import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from lmwright.core.config import Config
from lmwright.core.duration import Duration
from lmwright.pipeline.catalog import find_step_type
from lmwright.pipeline.recipe import load_recipe
from lmwright.pipeline.step import StepType

_WIDTH = 98


class Key(NamedTuple):
    """A key that a recipe may set for a step.

    Args:
        name: as a recipe writes it.
        kind: its type as a recipe's author would say it.
        default: as a recipe writes it; None where the key is required, "" where there is none.
        meaning: the docstring under the field, on one line.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


def keys(config: type[Config]) -> Iterator[Key]:
    """The keys of a step's config, in order."""
    for name, field in config.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = None if field.is_required() else _as_yaml(value)
        meaning = " ".join((field.description or "").split())
        yield Key(name, kind_in_words(field.annotation), default, meaning)


def kind_in_words(annotation: Any) -> str:
    """A type as a recipe's author would say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_in_words(a) for a in arguments if a is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    name = annotation.__name__ if isinstance(annotation, type) and not origin else str(annotation)
    return _IN_WORDS.get(name, re.sub(r"[\w.]+\.", "", name))


def help_for(name: str) -> str:
    """The help of a step, or of a recipe by its name or path.

    Raises:
        LmwrightError: if there is none of that name.
    """
    step = find_step_type(name)
    return step_help(step) if step is not None else recipe_help(name)


def recipe_help(name: str) -> str:
    """The help of a recipe: its steps, and how their keys are set.

    Raises:
        LmwrightError: if there is no such recipe, or it is wrong.
    """
    recipe = load_recipe(name)
    first = recipe.steps[0]
    lines = [f"Usage: lmwright run {name} [KEY=VALUE]...", ""]
    if recipe.description:
        lines += [_indented(f"{recipe.description}.", 2), ""]
    lines += ["Example:", "", f"  lmwright run {name} budget=2m --run mine", "", "Steps:", ""]
    width = max(len(step.name) for step in recipe.steps)
    lines += [f"  {step.name:{width}}  {step.type.name}" for step in recipe.steps]
    lines += [
        "",
        f"A step's key is written {first.name}.KEY=VALUE; lmwright run {first.type.name} --help "
        "tells its keys.",
        f"lmwright run {name} --dry-run tells times, sizes and memory.",
    ]
    return "\n".join(lines)


def step_help(step: StepType) -> str:
    """The help of one step: an example, its inputs, and each key with its meaning."""
    about = " ".join(f"{(step.config.__doc__ or step.summary)}".split())
    lines = [f"Usage: lmwright run {step.name} [input.NAME=FOLDER]... [KEY=VALUE]...", ""]
    lines += [_indented(about, 2), "", "Example:", "", f"  {example(step)}", ""]
    if step.inputs or step.gathers:
        lines += ["Inputs, folders that other steps wrote (RUN/steps/NAME):", ""]
        for name, kind in step.inputs.items():
            optional = ", optional" if name in step.optional else ""
            lines.append(f"  input.{name}: {kind.replace('_', ' ')}{optional}")
        if step.gathers:
            lines.append(
                f"  and, in a recipe, each earlier step's {step.gathers.replace('_', ' ')}"
            )
        lines.append("")
    lines += [f"Gives: {step.output.replace('_', ' ')}.", "", "Keys:", ""]
    for key in keys(step.config):
        default = (
            "; required" if key.default is None else key.default and f"; default {key.default}"
        )
        lines.append(_indented(f"{key.name} ({key.kind.replace('`', '')}{default})", 2))
        lines.append(_indented(key.meaning, 6))
    return "\n".join(lines)


def example(step: StepType) -> str:
    """A command that runs the step alone, with all that it needs."""
    words = [f"input.{name}=FOLDER" for name in step.inputs if name not in step.optional]
    for name, field in step.config.model_fields.items():
        if field.is_required():
            words.append(f"{name}=...")
        elif Duration in typing.get_args(field.annotation) and name == "budget":
            words.append("budget=2m")
    return " ".join(["lmwright run", step.name, *words])


def _as_yaml(value: Any) -> str:
    if value is None or value in ({}, ()):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _indented(text: str, by: int) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=" " * by,
        subsequent_indent=" " * by,
        break_on_hyphens=False,
    )


_IN_WORDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "Duration": "time, steps or tokens",
    "tuple[float, float]": "two numbers",
    "dict[str, typing.Any]": "keys and values",
    "tuple[dict[str, int], ...]": "list of keys and whole numbers",
}

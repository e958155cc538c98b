"""The roadmap's topics, what shows that one is met, and the runs found here."""

import functools
import importlib.resources
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lmwright.core.config import Config
from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json


class Proof(Config):
    """What a run of a topic's recipe has to reach for the topic to be met."""

    metric: str = Field(min_length=1)
    """Key of the run's `summary.json`."""

    better: Literal["higher", "lower"]
    """Which way the metric gets better."""

    at_least: float
    """As good as this it must be: the worse end of the topic page's 95 % interval."""

    baseline: str | None = None
    """Key of the same summary that the metric must be better than, too."""

    dataset: str = Field(min_length=1)
    """What it is measured on, held out."""

    seconds: float = Field(gt=0)
    """About how long the recipe takes on one slow core."""

    def value(self, summary: Mapping[str, Any]) -> float | None:
        """The metric in a run's summary; None if the run does not have it."""
        return _number(summary.get(self.metric))

    def met(self, summary: Mapping[str, Any]) -> bool:
        """Whether a run reached what is asked."""
        value = self.value(summary)
        if value is None:
            return False
        sign = 1.0 if self.better == "higher" else -1.0
        if sign * value < sign * self.at_least:
            return False
        if self.baseline is None:
            return True
        other = _number(summary.get(self.baseline))
        return other is not None and sign * value > sign * other


class Topic(Config):
    """One topic of the road."""

    id: str = Field(pattern=r"^[1-9B]\.[1-9]\d*$")
    """Stable: docs, commands and runs refer to it."""

    title: str = Field(min_length=1)
    """What an engineer would call it."""

    works: str = Field(min_length=1)
    """What has to run, all of it, before the topic is ready."""

    recipe: str | None = None
    """Name of the recipe that shows it; `lmwright run RECIPE`."""

    command: str | None = None
    """The command that shows it, where that is no recipe; starts with `lmwright`."""

    note: str | None = None
    """Which part exists already and which is missing, while the topic is planned."""

    read: tuple[str, ...] = ()
    """The source to read, relative to the package."""

    page: str | None = None
    """Its page, relative to `docs/`."""

    needs: tuple[str, ...] = ()
    """Ids of the topics to know before."""

    labs: tuple[str, ...] = ()
    """Ids of its labs, in which a part is written by hand."""

    proof: Proof | None = None
    """What its recipe has to reach, where that is known from a measurement."""

    @model_validator(mode="after")
    def _one_way_to_run(self) -> "Topic":
        if self.recipe and self.command:
            raise ValueError(f"topic {self.id} has a recipe and a command; give one")
        if self.command and not self.command.startswith("lmwright "):
            raise ValueError(f"topic {self.id}: {self.command!r} does not start with `lmwright`")
        if self.proof and not self.recipe:
            raise ValueError(f"topic {self.id} has a proof and no recipe that could give it")
        return self

    @property
    def how(self) -> str | None:
        """The command line that runs it; None while it is planned."""
        return f"lmwright run {self.recipe}" if self.recipe else self.command


class Stage(Config):
    """A stretch of the road."""

    id: str = Field(pattern=r"^[1-9B]$")
    """The first part of its topics' ids."""

    title: str = Field(min_length=1)
    """Its name."""

    topics: tuple[Topic, ...] = Field(min_length=1)
    """In the order of the road."""

    @model_validator(mode="after")
    def _topics_belong_here(self) -> "Stage":
        for number, topic in enumerate(self.topics, start=1):
            if topic.id != f"{self.id}.{number}":
                raise ValueError(f"topic {topic.id} stands where {self.id}.{number} should")
        return self


class Road(Config):
    """All of it."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    """In the order of the road."""

    @model_validator(mode="after")
    def _needs_exist_and_end(self) -> "Road":
        needs = {topic.id: topic.needs for topic in self.topics}
        for id, needed in needs.items():
            unknown = [other for other in needed if other not in needs]
            if unknown:
                raise ValueError(f"topic {id} needs {unknown[0]}, which is none")
        try:
            tuple(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise ValueError(f"topics need each other: {' -> '.join(error.args[1])}") from error
        return self

    @property
    def topics(self) -> list[Topic]:
        """Every topic, in order."""
        return [topic for stage in self.stages for topic in stage.topics]

    def topic(self, id: str) -> Topic:
        """The topic with that id.

        Raises:
            LmwrightError: if there is none.
        """
        for topic in self.topics:
            if topic.id == id:
                return topic
        first, last = self.topics[0].id, self.topics[-1].id
        raise LmwrightError(
            f"there is no topic {id} on the roadmap",
            hint=f"topics go from {first} to {last}; `lmwright roadmap` lists them",
        )

    def all_needs(self, id: str) -> list[str]:
        """Ids of all topics that one needs, and that those need, in the order of the road."""
        wanted, found = list(self.topic(id).needs), set[str]()
        while wanted:
            need = wanted.pop()
            if need not in found:
                found.add(need)
                wanted += self.topic(need).needs
        return [topic.id for topic in self.topics if topic.id in found]

    def leads_to(self, id: str) -> list[Topic]:
        """The topics that need this one first."""
        return [topic for topic in self.topics if id in topic.needs]


def read_road(text: str) -> Road:
    """The road that a YAML text describes.

    Raises:
        LmwrightError: if it is no YAML, or not a road.
    """
    try:
        return Road.model_validate(YAML(typ="safe", pure=True).load(text))
    except YAMLError as error:
        raise LmwrightError(f"topics.yaml is not YAML: {error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise LmwrightError(f"topics.yaml, {where}: {problem['msg']}") from error


@functools.cache
def load_road() -> Road:
    """The road that comes with the package."""
    file = importlib.resources.files("lmwright.roadmap") / "topics.yaml"
    return read_road(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class PartUsed:
    """A part that stood in production's place in a run.

    Args:
        target: what it stood for, "module:name".
        sha256: of the file.
        calls: how often the run called it.
    """

    target: str
    sha256: str
    calls: int


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended well.

    Args:
        name: of its folder.
        recipe: name of the recipe, or of the single step, that it ran.
        summary: its `summary.json`.
        parts: a person's own parts that it ran with.
    """

    name: str
    recipe: str
    summary: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    parts: tuple[PartUsed, ...] = ()


def finished_runs(folder: Path | None = None) -> list[FinishedRun]:
    """The finished runs in `folder` (default: where runs are kept here), by name.

    A folder whose summary is missing, torn, or tells of a run that failed or stopped is left out.
    """
    if folder is None:
        folder = Path(os.environ.get("LMWRIGHT_RUNS") or "runs")
    found = []
    for file in sorted(folder.glob("*/summary.json")):
        try:
            summary = read_json(file)
        except (LmwrightError, OSError):
            continue
        if isinstance(summary, Mapping) and summary.get("status") == "done":
            found.append(
                FinishedRun(
                    name=file.parent.name,
                    recipe=str(summary.get("recipe")),
                    summary=summary,
                    parts=parts_used(file.parent, summary),
                )
            )
    return found


def parts_used(folder: Path, summary: Mapping[str, Any]) -> tuple[PartUsed, ...]:
    """The parts that a run was given with `--use`, and how often it called each.

    Args:
        folder: the run's.
        summary: its `summary.json`.
    """
    try:
        lineage = read_json(folder / "lineage.json")
    except (LmwrightError, OSError):
        return ()
    parts = lineage.get("parts") if isinstance(lineage, Mapping) else None
    if not isinstance(parts, list):
        return ()
    found = []
    for part in parts:
        if isinstance(part, Mapping) and isinstance(part.get("target"), str):
            calls = _number(summary.get(f"calls_{part.get('name')}")) or 0
            found.append(PartUsed(part["target"], str(part.get("sha256")), int(calls)))
    return tuple(found)


def runs_of(topic: Topic, runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Those of `runs` that ran the topic's recipe."""
    return [run for run in runs if topic.recipe is not None and run.recipe == topic.recipe]


def _number(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None

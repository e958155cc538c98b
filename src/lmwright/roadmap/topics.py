"""The roadmap's topics, and their states as the recipes and the runs found here show them."""

import functools
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lmwright.core.config import Config
from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json

State = Literal["planned", "ready", "ran here"]


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

    @model_validator(mode="after")
    def _one_way_to_run(self) -> "Topic":
        if self.recipe and self.command:
            raise ValueError(f"topic {self.id} has a recipe and a command; give one")
        if self.command and not self.command.startswith("lmwright "):
            raise ValueError(f"topic {self.id}: {self.command!r} does not start with `lmwright`")
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
class FinishedRun:
    """A run that ended well.

    Args:
        name: of its folder.
        recipe: name of the recipe, or of the single step, that it ran.
    """

    name: str
    recipe: str


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
            found.append(FinishedRun(name=file.parent.name, recipe=str(summary.get("recipe"))))
    return found


def runs_of(topic: Topic, runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Those of `runs` that ran the topic's recipe."""
    return [run for run in runs if topic.recipe is not None and run.recipe == topic.recipe]


def state(topic: Topic, runs: Sequence[FinishedRun]) -> State:
    """Planned without working code; ready with it; ran here where a finished run shows it."""
    if topic.how is None:
        return "planned"
    return "ran here" if runs_of(topic, runs) else "ready"

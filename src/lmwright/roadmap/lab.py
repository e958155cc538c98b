"""A lab: one folder that names a part of production and says how a learner's own is checked."""

import functools
import hashlib
import importlib
import importlib.resources
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lmwright.core.config import Config
from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import nearest
from lmwright.roadmap.properties import Mutant, Property, Subject, Twist


class Proof(Config):
    """What a run on real data with the learner's part must give, beside one with production's."""

    says: str = Field(min_length=1)
    """What is run and measured, in one line."""

    metric: str = Field(min_length=1)
    """Key of what `proof.measure()` returns, with its unit."""

    band: float = Field(ge=0.0)
    """How far the two may lie apart."""

    dataset: str | None = None
    """Folder below LMWRIGHT_DATA that it reads; None: it needs none."""

    seconds: float = Field(gt=0.0, le=120.0)
    """About how long both take together on two cores."""


class Lab(Config):
    """What `lab.yaml` says."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of its folder, and of the learner's file."""

    title: str = Field(min_length=1)
    """What is written, in a few words."""

    topics: tuple[str, ...] = Field(min_length=1)
    """Ids of the road's topics that it belongs to."""

    target: str = Field(pattern=r"^lmwright(\.\w+)+:\w+$")
    """The part of production that it stands for, "module:name"."""

    minutes: int = Field(gt=0)
    """How long it takes about."""

    banned: tuple[str, ...] = ()
    """Shortcuts that raise while the learner's code runs, "module:name"."""

    proof: Proof
    """The run on real data."""

    @property
    def module(self) -> str:
        """Dotted name of the production module."""
        return self.target.partition(":")[0]

    @property
    def name(self) -> str:
        """What is written: the name of the function or class."""
        return self.target.partition(":")[2]

    @property
    def folder(self) -> Traversable:
        """Where it lies in the package."""
        return _labs_folder() / self.id

    def text(self, name: str) -> str:
        """One of its files, such as `spec.md`.

        Raises:
            LmwrightError: if its author has not written it yet.
        """
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise LmwrightError(f"labs/{self.id} has no {name}") from None

    def digest(self) -> str:
        """SHA-256 of what it asks and how it checks; states are shown grey when it has changed."""
        names = ("lab.yaml", "spec.md", "check.py")
        return hashlib.sha256("\0".join(self.text(name) for name in names).encode()).hexdigest()

    # What follows loads production, and with it mostly torch.

    def production(self) -> Subject:
        """The part itself."""
        found: Subject = getattr(importlib.import_module(self.module), self.name)
        return found

    def properties(self) -> tuple[Property, ...]:
        """In learning order."""
        return tuple(self._python("check").PROPERTIES)

    def twists(self) -> Mapping[str, Twist]:
        """By name; three at least."""
        found: Mapping[str, Twist] = self._python("check").TWISTS
        return found

    def mutants(self) -> tuple[Mutant, ...]:
        """Eight at least."""
        return tuple(self._python("mutants").MUTANTS)

    def measure(self) -> dict[str, Any]:
        """Do the proof's run in this process, with the part that is in use here."""
        found: dict[str, Any] = self._python("proof").measure()
        return found

    def _python(self, name: str) -> ModuleType:
        return importlib.import_module(f"lmwright.roadmap.labs.{self.id}.{name}")


def read_lab(text: str, folder: str) -> Lab:
    """The lab that a YAML text describes.

    Args:
        text: of `lab.yaml`.
        folder: its name, which must be the lab's.

    Raises:
        LmwrightError: if it is no YAML, or describes no lab.
    """
    where = f"labs/{folder}/lab.yaml"
    try:
        lab = Lab.model_validate(YAML(typ="safe", pure=True).load(text))
    except YAMLError as error:
        raise LmwrightError(f"{where} is not YAML: {error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise LmwrightError(f"{where}, {place}: {problem['msg']}") from error
    if lab.id != folder:
        raise LmwrightError(f"{where}: the lab is called {lab.id}, its folder {folder}")
    return lab


@functools.cache
def all_labs() -> dict[str, Lab]:
    """Every lab of the package by name, in the order of the road: topic, then minutes."""
    folders = [folder for folder in _labs_folder().iterdir() if (folder / "lab.yaml").is_file()]
    labs = [read_lab((f / "lab.yaml").read_text(encoding="utf-8"), f.name) for f in folders]
    labs.sort(key=lambda lab: (_order(lab.topics[0]), lab.minutes, lab.id))
    return {lab.id: lab for lab in labs}


def find_lab(name: str) -> Lab:
    """The lab of that name.

    Raises:
        LmwrightError: if there is none.
    """
    labs = all_labs()
    if name not in labs:
        raise LmwrightError(f"there is no lab {name}", hint=nearest(name, labs))
    return labs[name]


def _labs_folder() -> Traversable:
    return importlib.resources.files("lmwright.roadmap") / "labs"


def _order(topic: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 99 for part in topic.split("."))

"""The plan of a run: which steps apply, what feeds each, and how the time budget is divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.core.files import read_json
from lmwright.pipeline.catalog import load_function
from lmwright.pipeline.recipe import Recipe, Step

SHORTEST_SHARE = 1.0
"""Seconds a training step gets at least; a step of no time at all would train nothing."""


@dataclass(frozen=True)
class Planned:
    """A step that will run.

    Args:
        step: the recipe's step.
        sources: for every input, the earlier step or outside folder that feeds it, or None.
    """

    step: Step
    sources: Mapping[str, str | Path | None]


@dataclass(frozen=True)
class Plan:
    """What a recipe comes to on this corpus.

    Args:
        recipe: the recipe.
        steps: those that apply, in order.
        not_applicable: the others, each with the reason in words.
        final: the step whose model becomes the run's, or None.
    """

    recipe: Recipe
    steps: tuple[Planned, ...]
    not_applicable: Mapping[str, str]
    final: str | None

    def seconds_for(self, name: str, spent: float) -> float | None:
        """The share of the time budget that a step gets when it starts.

        share / (shares of it and of later training steps) of what is left when the time spent and
        the time reserved for it and for later steps is taken off; at least one second.

        Args:
            name: the step.
            spent: seconds that this run's finished steps took.

        Returns:
            seconds, or None where no budget rules the step.
        """
        names = [planned.step.name for planned in self.steps]
        coming = [planned.step for planned in self.steps[names.index(name) :]]
        step = coming[0]
        if self.recipe.budget is None or step.share is None or not step.trains_on_share:
            return None
        kept = sum(other.reserve + _own_seconds(other) for other in coming)
        shares = sum(other.share or 0.0 for other in coming if other.trains_on_share)
        left = self.recipe.budget - spent - kept
        return max(SHORTEST_SHARE, left * step.share / shares)


def make_plan(recipe: Recipe) -> Plan:
    """Decide which steps apply: the corpus has their kinds of records and their inputs apply.

    Raises:
        LmwrightError: if no step applies, or an outside corpus cannot be read.
    """
    planned: dict[str, Planned] = {}
    kinds: dict[str, frozenset[str]] = {}
    reasons: dict[str, str] = {}
    for step in recipe.steps:
        sources = {
            name: next((c for c in candidates if isinstance(c, Path) or c in planned), None)
            for name, candidates in step.inputs.items()
        }
        reason = _lacking_input(step, sources) or _lacking_records(step, sources, kinds)
        if reason:
            reasons[step.name] = reason
            continue
        planned[step.name] = Planned(step, sources)
        if step.type.provides:
            kinds[step.name] = frozenset(load_function(step.type.provides)(step.config))
    if not planned:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise LmwrightError(f"no step of {recipe.name} applies ({why})")
    return Plan(recipe, tuple(planned.values()), reasons, _final(recipe, planned))


def _lacking_input(step: Step, sources: Mapping[str, str | Path | None]) -> str | None:
    for name, candidates in step.inputs.items():
        # What is gathered is what there is.
        wanted = name in step.type.inputs and name not in step.type.optional
        if sources[name] is None and wanted:
            return f"needs {' or '.join(map(str, candidates))}, which does not apply"
    return None


def _lacking_records(
    step: Step,
    sources: Mapping[str, str | Path | None],
    kinds: Mapping[str, frozenset[str]],
) -> str | None:
    if not step.type.needs:
        return None
    corpora = [sources[name] for name, kind in step.type.inputs.items() if kind == "corpus"]
    # A step that needs records but takes no corpus itself lives on those of the recipe.
    there = [source for source in corpora if source is not None] or list(kinds)
    has: set[str] = set()
    for source in there:
        has |= _kinds_of_folder(source) if isinstance(source, Path) else kinds.get(source, set())
    lacking = sorted(step.type.needs - has)
    return f"the corpus has no {' and no '.join(lacking)}" if lacking else None


def _kinds_of_folder(folder: Path) -> frozenset[str]:
    return frozenset(read_json(folder / "corpus.json")["kinds"])


def _final(recipe: Recipe, planned: Mapping[str, Planned]) -> str | None:
    models = [name for name, p in planned.items() if p.step.type.output == "model"]
    if recipe.final:
        return next((name for name in recipe.final if name in models), None)
    return models[-1] if models else None


def _own_seconds(step: Step) -> float:
    budget = step.own_budget
    return budget.amount if budget is not None and budget.unit == "seconds" else 0.0

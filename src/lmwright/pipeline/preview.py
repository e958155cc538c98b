"""`--dry-run`: what would run, from what, for how long and in how much memory."""

from pathlib import Path

from lmwright.pipeline.catalog import load_function
from lmwright.pipeline.execution import Execution
from lmwright.pipeline.launch import run_folder
from lmwright.pipeline.parts_used import check_callable
from lmwright.pipeline.plan import Plan, Planned, make_plan
from lmwright.pipeline.progress import Display, Silent, seconds, size
from lmwright.pipeline.recipe import load_recipe
from lmwright.pipeline.step import Estimate


def preview(reference: str, overrides: list[str], *, name: str | None, display: Display) -> None:
    """Print the plan of a run, and start nothing and write nothing.

    Args:
        reference: a recipe's name or path, or a step's name.
        overrides: as for `launch`.
        name: of the run; None: the recipe's.
        display: where to print.

    Raises:
        LmwrightError: for whatever is wrong with the recipe.
    """
    plan = make_plan(load_recipe(reference, overrides))
    check_callable(planned.step.type for planned in plan.steps)
    folder = run_folder(name or plan.recipe.name)
    kept = _kept(plan, folder)
    estimates = {p.step.name: _estimate(p) for p in plan.steps}
    times = _times(plan, estimates, kept)
    rows = [
        [
            planned.step.name,
            planned.step.type.name,
            _sources(planned),
            _shown_time(planned, times[planned.step.name]),
            _shown_size(estimates[planned.step.name].bytes),
            "kept" if planned.step.name in kept else "",
        ]
        for planned in plan.steps
    ]
    display.line(f"{plan.recipe.name}: {plan.recipe.description}".rstrip(": "), "bold")
    columns = ["step", "what", "from", "time", "memory", "state"]
    display.table(f"plan of {folder}", columns, rows)
    for step, reason in plan.not_applicable.items():
        display.line(f"not applicable: {step} ({reason})", "yellow")
    for step, estimate in estimates.items():
        if estimate.text:
            display.line(f"{step}: {estimate.text}")
    _totals(plan, estimates, times, display)


def _totals(
    plan: Plan,
    estimates: dict[str, Estimate],
    times: dict[str, float | None],
    display: Display,
) -> None:
    unknown = [name for name, time in times.items() if time is None]
    known = sum(time for time in times.values() if time is not None)
    parts = [f"about {seconds(known)}"] if known else []
    if plan.recipe.budget is not None:
        parts = [f"budget {seconds(plan.recipe.budget)}"]
    elif unknown:
        parts.append(f"{'and ' if parts else ''}an unknown time for {', '.join(unknown)}")
    display.line(f"time     {' '.join(parts)}")
    # Steps run one after the other: the largest decides, not the sum.
    peak = max((e.bytes for e in estimates.values() if e.bytes is not None), default=None)
    display.line(f"memory   {'unknown' if peak is None else f'about {size(peak)} at the peak'}")
    if plan.final is not None:
        display.line(f"model    from step {plan.final}")


def _kept(plan: Plan, folder: Path) -> dict[str, float]:
    """Steps that would not run again, and the seconds they once took."""
    execution = Execution(plan, folder, Silent())
    for planned in plan.steps:
        sources = [source for source in planned.sources.values() if isinstance(source, str)]
        if all(source in execution.results for source in sources):
            result = execution.kept(planned)
            if result is not None:
                execution.results[planned.step.name] = result
    return {name: result["seconds"] for name, result in execution.results.items()}


def _times(
    plan: Plan, estimates: dict[str, Estimate], kept: dict[str, float]
) -> dict[str, float | None]:
    """Seconds of each step: what it took, its share of the budget, its own, or its estimate."""
    times: dict[str, float | None] = {}
    for planned in plan.steps:
        step = planned.step
        spent = sum(time for time in times.values() if time is not None)
        share = plan.seconds_for(step.name, spent)
        own = step.own_budget
        if step.name in kept:
            times[step.name] = kept[step.name]
        elif share is not None:
            times[step.name] = share
        elif own is not None and own.unit == "seconds":
            times[step.name] = own.amount
        else:
            times[step.name] = estimates[step.name].seconds or step.reserve or None
    return times


def _estimate(planned: Planned) -> Estimate:
    reference = planned.step.type.estimate
    if reference is None:
        return Estimate()
    estimate = load_function(reference)(planned.step.config)
    assert isinstance(estimate, Estimate), f"{reference} gave no Estimate"
    return estimate


def _sources(planned: Planned) -> str:
    shown = []
    for name, source in planned.sources.items():
        if source is None:
            continue
        where = source.name if isinstance(source, Path) else source
        shown.append(where if where == name else f"{name}: {where}")
    return ", ".join(shown)


def _shown_time(planned: Planned, time: float | None) -> str:
    if planned.step.own_budget is not None and time is None:
        return str(planned.step.own_budget)
    return "" if time is None else seconds(time)


def _shown_size(count: int | None) -> str:
    return "" if count is None else size(count)

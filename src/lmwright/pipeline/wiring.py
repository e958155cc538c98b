"""Wiring: which earlier step, or which folder, each input of a step comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.catalog import nearest
from lmwright.pipeline.source import Location, Source
from lmwright.pipeline.step import StepType


def wire(
    source: Source,
    path: Location,
    step: str,
    inputs: Mapping[str, str | Sequence[str]],
    step_type: StepType,
    kinds: Mapping[str, str],
) -> dict[str, tuple[str | Path, ...]]:
    """Where each input of a step may come from, best first.

    Args:
        source: the recipe, for errors that point.
        path: where in it the step stands.
        step: the step's name.
        inputs: what the recipe says: input name -> earlier step or folder, or a list of them.
        step_type: the step's type.
        kinds: earlier steps and the kind of artefact each gives.

    Raises:
        LmwrightError: for an unknown input, an input that nothing gives, or a wrong kind.
    """
    named = {name: step_type.gathers for name in inputs if name not in step_type.inputs}
    for wrong in named if not step_type.gathers else ():
        raise source.error(
            (*path, "inputs", wrong),
            f"{step}.inputs: {wrong} is not an input of {step_type.name}",
            nearest(wrong, step_type.inputs),
        )
    wired: dict[str, tuple[str | Path, ...]] = {}
    for name, kind in {**step_type.inputs, **named}.items():
        given = inputs.get(name, [name] if name in kinds else [])
        candidates = [given] if isinstance(given, str) else given
        at = (*path, "inputs", name)
        wired[name] = tuple(_candidate(source, at, step, c, kind, kinds) for c in candidates)
        if not wired[name] and name not in step_type.optional:
            raise _unwired(source, path, step, name, kind, kinds)
    taken = {candidate for candidates in wired.values() for candidate in candidates}
    for name, kind in kinds.items():
        if kind == step_type.gathers and name not in taken:
            wired[name] = (name,)
    return wired


def _candidate(
    source: Source, at: Location, step: str, given: str, kind: str, kinds: Mapping[str, str]
) -> str | Path:
    """The earlier step, or the folder outside the run, that `given` names."""
    if given in kinds:
        if kinds[given] != kind:
            what = f"{step}.inputs: {at[-1]} must be a {kind}, but {given} gives a {kinds[given]}"
            raise source.error(at, what, _givers(kind, kinds))
        return given
    folder = Path(given).expanduser()
    if folder.is_dir():
        return _artefact_in(folder.absolute(), kind)
    raise source.error(
        at,
        f"{step}.inputs: {at[-1]} names {given}, which is no earlier step and no folder",
        nearest(given, [name for name, output in kinds.items() if output == kind]),
    )


def _artefact_in(folder: Path, kind: str) -> Path:
    """Where the artefact stands if `folder` is a run or a step of one; else the folder itself."""
    if (folder / "step.json").is_file() and (folder / "output").is_dir():
        return folder / "output"
    if kind == "model" and (folder / "steps").is_dir() and (folder / "model").is_dir():
        return folder / "model"
    return folder


def _unwired(
    source: Source, path: Location, step: str, name: str, kind: str, kinds: Mapping[str, str]
) -> LmwrightError:
    if not kinds:
        return source.error(
            path, f"{step} needs its input {name} (a {kind})", f"write input.{name}=FOLDER"
        )
    what = f"{step} needs its input {name} (a {kind}), and no earlier step is called {name}"
    return source.error(path, what, _givers(kind, kinds, f"inputs: {{{name}: STEP}}"))


def _givers(kind: str, kinds: Mapping[str, str], form: str = "") -> str:
    givers = [name for name, output in kinds.items() if output == kind]
    if not givers:
        return f"no earlier step gives a {kind}"
    choice = f"steps that give one: {', '.join(givers)}"
    return f"write {form}; {choice}" if form else choice

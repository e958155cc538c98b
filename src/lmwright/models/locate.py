"""From a name on the command line to a model folder: a run, a folder, or a hub id."""

import difflib
import os
from pathlib import Path

from lmwright.core.errors import LmwrightError
from lmwright.models import hub

_RECIPE = "recipe.yaml"
_SUMMARY = "summary.json"  # written when a run is done
_SHOWN = 5  # runs named in an error


def runs_folder() -> Path:
    """Where runs are kept: `$LMWRIGHT_RUNS`, else `runs` in the current folder."""
    return Path(os.environ.get("LMWRIGHT_RUNS") or "runs")


def find_model(name: str, *, weights: bool = True) -> Path:
    """The folder with config.json that a name stands for.

    Args:
        name: a model folder, a run folder (its `model` is meant), the name of a run, or the
            `owner/name` of a model on the hub, which is then downloaded.
        weights: whether a download brings them; without, only what describes the model.

    Raises:
        LmwrightError: if there is none; names the runs that are there.
    """
    here = Path(name)
    for candidate in (here, runs_folder() / name):
        for folder in (candidate, candidate / "model"):
            if (folder / "config.json").is_file():
                return folder
        if (candidate / _SUMMARY).is_file():
            raise LmwrightError(
                f"the run {candidate} made no language model",
                hint=f"its steps' models are folders: {candidate}/steps/NAME/output",
            )
        if (candidate / _RECIPE).is_file():
            raise LmwrightError(
                f"the run {candidate} has no finished model yet",
                hint="run the same `lmwright run` command again: it goes on where it stopped",
            )
    if here.is_file():
        raise LmwrightError(
            f"{here} is a file; a model is a folder with config.json and its tokenizer",
            hint=f"make one of it first: lmwright convert {here} FOLDER",
        )
    if here.is_dir():
        raise LmwrightError(
            f"{here} is neither a model folder nor a run: it has no config.json and no {_RECIPE}",
            hint=_known_runs(name),
        )
    # `runs/quikstart` has the form of a hub id, but its owner is a folder that stands here.
    if name.count("/") == 1 and not here.is_absolute() and not here.parent.is_dir():
        return hub.locate(name, weights=weights)
    raise LmwrightError(f"there is no run or model folder {name}", hint=_known_runs(name))


def _known_runs(name: str) -> str:
    folder = runs_folder()
    runs = sorted(path.name for path in folder.glob("*") if (path / _RECIPE).is_file())
    if not runs:
        return f"there are no runs in {folder}: make one with `lmwright run quickstart`"
    near = difflib.get_close_matches(Path(name).name, runs, n=_SHOWN)
    shown = near or runs[:_SHOWN]
    more = "" if near or len(runs) <= _SHOWN else f" and {len(runs) - _SHOWN} more"
    return f"{'nearest runs' if near else 'runs'} in {folder}: {', '.join(shown)}{more}"

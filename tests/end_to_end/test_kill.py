"""`kill -9` at random moments: run again, and the weights equal an uninterrupted run's."""

import json
import random
from importlib import resources
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.cases import SMALL, lmwright

STEPS = {"base": 24, "chat": 24, "aligned": 12}
CHECKPOINT_EVERY = 5
RENAMES = 21

# What comes after the last training is no part of what is compared.
TRAINED = tuple(override for override in SMALL if not override.startswith("evaluation."))
FIXED = (
    *TRAINED,
    *(f"{name}.budget={steps} steps" for name, steps in STEPS.items()),
    *(f"{name}.checkpoint_every={CHECKPOINT_EVERY} steps" for name in STEPS),
    *(f"{name}.precision=float32" for name in STEPS),
    *(f"{name}.matrix_precision=float32" for name in STEPS),
    "aligned.epochs=1000",
    "aligned.batch_pairs=8",
)

KILL_AT_CALL = """
import importlib, os, signal
calls = 0
def kill_at(module, path, number, when):
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    def counted(*args, **kwargs):
        global calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, counted)
"""


Moment = tuple[str, str, int, str]
"""(module, function, how many calls in, before or after it); counted anew in each process."""


def chains(seed: int = 20) -> dict[str, list[Moment]]:
    """Fifteen places in four runs, each of which is killed again wherever it has got to."""
    rng = random.Random(seed)
    total = sum(STEPS.values())

    def training(module: str, function: str, count: int, when: str) -> list[Moment]:
        places = sorted(rng.sample(range(1, total + 1), count))
        starts = [0, *(checkpointed(place - 1) for place in places)]
        return [(module, function, p - s, when) for p, s in zip(places, starts, strict=False)]

    # Checkpoints, folders of steps and the model's folder all appear by this rename.
    places, sides = sorted(rng.sample(range(1, RENAMES + 1), 4)), ("before", "after") * 2
    done = [0, *(p - (when == "before") for p, when in zip(places, sides, strict=True))]
    return {
        "advance": training("lmwright.training.trainer", "Trainer._advance", 5, "before"),
        "optimizer": training("lmwright.training.optimizers", "Optimizers.step", 3, "after"),
        "rename": [
            ("lmwright.core.files", "publish_folder", place - before, when)
            for place, before, when in zip(places, done, sides, strict=False)
        ],
        # What was decided is known to the next process, which asks for it once more.
        "decide": [("lmwright.pipeline.run", "StepRun.decide", n, "before") for n in (1, 2, 3)],
    }


def checkpointed(steps: int) -> int:
    """Of so many optimiser steps, in all trainings, those that a killed run need not do again."""
    kept = 0
    for length in STEPS.values():
        if steps < length:
            return kept + steps // CHECKPOINT_EVERY * CHECKPOINT_EVERY
        kept, steps = kept + length, steps - length
    return kept


def without_evaluation(folder: Path) -> str:
    """The quickstart's recipe up to its last training, as a file in `folder`."""
    packaged = resources.files("lmwright.recipes") / "quickstart.yaml"
    recipe = yaml.safe_load(packaged.read_text())
    recipe["steps"] = [s for s in recipe["steps"] if s["name"] not in ("int8", "evaluation")]
    path = folder / "quickstart.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def logged(run: Path, step: str) -> list[tuple[object, ...]]:
    """What training itself computed: DPO may keep earlier weights, its losses still tell."""
    lines = (run / "steps" / step / "metrics.jsonl").read_text().splitlines()
    read = [json.loads(line) for line in lines]
    return [(x["step"], x.get("loss"), x.get("gradient_norm")) for x in read]


def summary(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    done = lmwright("run", without_evaluation(runs), *FIXED, runs=runs)
    assert done.returncode == 0, done.stderr
    return runs / "quickstart"


@pytest.mark.slow
@pytest.mark.parametrize("moments", chains().values(), ids=chains())
def test_a_run_killed_again_and_again_goes_on_to_the_same_bits(moments, whole, tmp_path):
    recipe = without_evaluation(tmp_path)
    for module, function, number, when in moments:
        driver = KILL_AT_CALL + f"kill_at({module!r}, {function!r}, {number}, {when!r})"
        killed = lmwright("run", recipe, *FIXED, runs=tmp_path, driver=driver)
        assert killed.returncode == -9, killed.stdout + killed.stderr

    resumed = lmwright("run", recipe, *FIXED, runs=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    assert weights(tmp_path / "quickstart") == weights(whole)
    for name, steps in STEPS.items():
        assert logged(tmp_path / "quickstart", name) == logged(whole, name)
        assert summary(tmp_path / "quickstart")[f"{name}_steps"] == steps


@pytest.mark.slow
def test_a_killed_run_equals_a_fresh_one_given_the_recorded_choice(tmp_path):
    """With a budget in time the machine chooses; a fresh run told that choice gives its bits."""
    runs, recipe = tmp_path / "timed", without_evaluation(tmp_path)
    timed = (*TRAINED, "budget=31s")  # what evaluation leaves of the small quickstart's
    driver = KILL_AT_CALL + "kill_at('lmwright.training.budget', 'choose_plan', 2, 'before')"
    assert lmwright("run", recipe, *timed, runs=runs, driver=driver).returncode == -9
    resumed = lmwright("run", recipe, *timed, runs=runs)
    assert resumed.returncode == 0, resumed.stderr
    chosen = summary(runs / "quickstart")

    told = [
        f"{name}.{key}={value}"
        for name in STEPS
        for key, value in {
            "budget": f"{chosen[f'{name}_steps']} steps",
            "precision": chosen[f"{name}_precision"],
            "matrix_precision": chosen[f"{name}_matrix_precision"],
            "micro_rows": chosen[f"{name}_micro_rows"],
        }.items()
    ]
    told += [f"aligned.prompts={chosen['dpo_prompts']}"]
    told += [f"aligned.questions={max(1, chosen['dpo_most_questions'])}"]
    fresh = lmwright("run", recipe, *timed, *told, runs=tmp_path / "told")

    assert fresh.returncode == 0, fresh.stderr
    assert weights(tmp_path / "told" / "quickstart") == weights(runs / "quickstart")

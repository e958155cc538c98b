"""Recipes: every mistake is one line that points, found before step 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from lmwright.core.errors import LmwrightError
from lmwright.pipeline.recipe import load_recipe

from .conftest import RECIPE


def error_of(path, *overrides):
    with pytest.raises(LmwrightError) as caught:
        load_recipe(path, list(overrides))
    return caught.value


def test_keys_defaults_and_overrides_meet_in_the_config(recipe):
    path = recipe(RECIPE.replace("    share: 3\n", "    share: 3\n    learning_rate: 5\n"))
    loaded = load_recipe(
        path, ["budget=3m", "base.steps=7", "base.learning_rate=1e-3", "base.optimizer.beta=0.5"]
    )
    base = loaded.steps[1]
    assert loaded.name == "tiny"
    assert loaded.budget == 180.0
    assert (base.config.steps, base.config.learning_rate) == (7, 1e-3)
    assert base.config.optimizer.beta == 0.5
    assert base.share == 3
    assert loaded.steps[3].reserve == 2.0


def test_inputs_are_wired_by_name_and_by_choice(recipe):
    steps = load_recipe(recipe()).steps
    assert steps[1].inputs == {"corpus": ("corpus",), "start": ()}
    assert steps[2].inputs["model"] == ("base",)
    assert steps[3].inputs == {"base": ("base",), "aligned": ("aligned",)}


def test_resolved_recipe_loads_to_an_equal_recipe(recipe):
    loaded = load_recipe(recipe(), ["budget=90s", "base.budget=2000 steps"])
    again = load_recipe(recipe(loaded.to_yaml(), name="other"))
    assert again == loaded


COMPARED = RECIPE.replace("fakesteps.evaluate", "fakesteps.compare").replace(
    "final:", "    inputs: {mine: base}\nfinal:"
)


def test_a_step_that_gathers_takes_every_earlier_artefact(recipe):
    loaded = load_recipe(recipe(COMPARED))
    wired = {"corpus": ("corpus",), "mine": ("base",), "aligned": ("aligned",)}
    assert loaded.steps[3].inputs == wired
    assert load_recipe(recipe(loaded.to_yaml(), name="other")) == loaded
    error = error_of(recipe(COMPARED.replace("mine: base", "mine: corpus")))
    assert "mine must be a model, but corpus gives a corpus" in error.what


def test_unknown_key_names_file_line_and_nearest(recipe):
    error = error_of(recipe(RECIPE.replace("    share: 3\n", "    learning_rat: 1\n")))
    assert error.what == (
        "recipe tiny.yaml, line 7: base.learning_rat is not a key of fakesteps.train"
    )
    assert error.hint == "did you mean learning_rate?"


def test_unknown_key_in_a_nested_config(recipe):
    text = RECIPE.replace("    share: 3\n", "    optimizer:\n      bet: 1\n")
    error = error_of(recipe(text))
    assert "line 8: base.optimizer.bet is not a key" in error.what
    assert error.hint == "did you mean beta?"


def test_wrong_type_in_the_last_step_is_found_at_once_and_without_torch(recipe):
    path = recipe(RECIPE.replace("    reserve: 2s\n", "    limit: many\n"))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from lmwright.core.errors import LmwrightError\n"
        "from lmwright.pipeline.recipe import load_recipe\n"
        "try: load_recipe(sys.argv[2])\n"
        "except LmwrightError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here, path], capture_output=True, text=True, check=True
    )
    assert "line 14: evaluation.limit should be a valid integer" in done.stdout
    assert "not 'many'" in done.stdout
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("override", "what", "hint"),
    [
        ("base.learning_rat=1", "override base.learning_rat=1: base.learning_rat is not", "rate?"),
        ("base.steps=x", "override base.steps=x: base.steps should be a valid integer", None),
        ("bas.steps=1", "override bas.steps=1: the recipe has no step bas", "base?"),
        ("budge=3m", "override budge=3m: budge is not a key of a recipe", "budget?"),
        ("budget=3", "override budget=3: budget: 3 has no unit", None),
        ("budget=10 steps", "budget=10 steps is no time", "6m"),
        ("base.steps", "override base.steps: this is not key=value", "budget=3m"),
        ("base.steps=[1", "override base.steps=[1, line 1:", None),
        ("base.share=-1", "override base.share=-1: base.share should be greater than 0", None),
        ("base.budget=3", "override base.budget=3: base.budget: 3 has no unit", None),
        ("base.optimizer.bet=1", "base.optimizer.bet is not a key", "beta?"),
        ("final=corpus", "override final=corpus: final: corpus is no step that gives a model", ""),
        ("base.inputs.model=corpus", "base.inputs: model is not an input of", None),
        ("aligned.inputs.model=corpus", "must be a model, but corpus gives a corpus", "base"),
        ("aligned.inputs.model=bse", "names bse, which is no earlier step and no folder", "base?"),
    ],
)
def test_errors_name_the_override(recipe, override, what, hint):
    error = error_of(recipe(), override)
    assert what in error.what
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("step: fakesteps.train", "step: fakesteps.tran"), "line 6: there is no step fakesteps"),
        (("name: aligned", "name: base"), "line 8: two steps are called base"),
        (("name: aligned", "name: a/b"), "line 8: 'a/b' cannot name a step"),
        (("    inputs: {model: base}\n", ""), "line 8: aligned needs its input model (a model)"),
        (("description: ", "descriptio: "), "line 1: descriptio is not a key of a recipe"),
        (("    share: 3\n", "    share: 3\n    share: 4\n"), "line 8"),
        (("  - name: base\n", "  - nam: base\n"), "name is missing"),
        (("steps:", "steps: ["), "recipe tiny.yaml, line"),
    ],
)
def test_errors_name_the_line(recipe, change, what):
    assert what in error_of(recipe(RECIPE.replace(*change))).what


def test_every_problem_of_a_step_is_told(recipe):
    text = RECIPE.replace("    share: 3\n", "    stps: 3\n    learning_rate: fast\n")
    error = error_of(recipe(text))
    assert "also:" in error.hint


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "steps: []\n", "description: x\n"])
def test_what_is_no_recipe_is_refused(recipe, text):
    assert "tiny.yaml" in error_of(recipe(text)).what


def test_missing_file_and_unknown_recipe():
    assert error_of("nowhere.yaml").what == "recipe nowhere.yaml does not exist"
    error = error_of("nowhere")
    assert error.what == "there is no recipe or step nowhere"


def test_a_single_step_is_a_recipe(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    loaded = load_recipe("fakesteps.train", [f"input.corpus={corpus}", "steps=4", "budget=5s"])
    (step,) = loaded.steps
    assert (loaded.name, step.name) == ("fakesteps.train", "train")
    assert step.inputs == {"corpus": (corpus,), "start": ()}
    assert step.config.steps == 4
    assert str(step.config.budget) == "5s"  # the config's own key comes before the recipe's


def test_a_single_step_without_its_input_says_how_to_give_it():
    error = error_of("fakesteps.train")
    assert "needs its input corpus" in error.what
    assert error.hint == "write input.corpus=FOLDER"


def test_a_run_or_a_step_of_one_serves_as_input(tmp_path):
    run = tmp_path / "runs" / "old"
    (run / "model").mkdir(parents=True)
    (run / "steps" / "corpus" / "output").mkdir(parents=True)
    (run / "steps" / "corpus" / "step.json").write_text("{}")
    overrides = [f"input.model={run}", f"input.corpus={run}/steps/corpus"]
    (step,) = load_recipe("fakesteps.align", overrides).steps
    assert step.inputs["model"] == (run / "model",)
    assert step.inputs["corpus"] == (run / "steps" / "corpus" / "output",)

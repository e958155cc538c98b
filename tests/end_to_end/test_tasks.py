"""The recipes of labelled tasks: planned without data being touched, and run whole, made small."""

import json

import pytest

from tests.end_to_end.cases import lmwright
from tests.real_data import real_data_folder

MODELS = {
    "text_classification": ("perceptron", "text_cnn", "recurrent", "encoder"),
    "named_entities": ("recurrent", "recurrent_crf"),
}


def small(recipe):
    steps = [
        f"{model}.{key}={value}"
        for model in MODELS[recipe]
        for key, value in {
            "budget": "6 steps",
            "evaluations": 2,
            "validation_examples": 100,
        }.items()
    ]
    return ("dataset.limit=200", "tokenizer.vocab_size=600", *steps)


def data():
    return str(real_data_folder())


@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_is_planned_whole(tmp_path, recipe):
    done = lmwright("run", recipe, "--dry-run", runs=tmp_path)
    assert done.returncode == 0, done.stderr
    for step in ("corpora.dataset", "tokens.encode_examples", *MODELS[recipe], "evaluation.task"):
        assert step in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_runs_and_compares_its_models(tmp_path, recipe):
    done = lmwright("run", recipe, *small(recipe), runs=tmp_path, LMWRIGHT_DATA=data())
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / recipe / "summary.json").read_text())
    score = "accuracy" if recipe == "text_classification" else "entity_f1"
    baseline = "nb_svm" if recipe == "text_classification" else "commonest_tag_of_the_word"
    for name in (*MODELS[recipe], baseline):
        assert 0 <= summary[f"{name}_{score}"] <= 1
    assert summary[f"{baseline}_{score}"] > 0.2
    again = lmwright("run", recipe, *small(recipe), runs=tmp_path, LMWRIGHT_DATA=data())
    assert again.returncode == 0, again.stderr
    assert "kept" in again.stdout


@pytest.mark.slow
def test_own_rows_take_the_place_of_a_published_set(tmp_path):
    file = tmp_path / "mine.csv"
    rows = [
        f"{'superb' if i % 2 else 'dull'} number {i},{'yes' if i % 2 else 'no'}" for i in range(200)
    ]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    done = lmwright(
        "run",
        "text_classification",
        f"dataset.path={file}",
        *small("text_classification")[1:],
        "perceptron.budget=200 steps",
        "perceptron.learning_rate=0.01",
        runs=tmp_path / "runs",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "runs/text_classification/summary.json").read_text())
    assert summary["perceptron_accuracy"] > 0.9


def test_data_that_is_not_here_is_told_in_one_line(tmp_path):
    refused = lmwright(
        "run", "text_classification", runs=tmp_path, LMWRIGHT_DATA=str(tmp_path / "none")
    )
    assert refused.returncode == 2
    assert "dataset sst2 lacks sst2/stsa.binary.train" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_sets_are_listed_and_shown(tmp_path):
    listed = lmwright("data", runs=tmp_path, LMWRIGHT_DATA=str(tmp_path))
    assert listed.returncode == 0
    assert "conll2003" in listed.stdout
    assert "not here" in listed.stdout
    shown = lmwright("data", "sst2", runs=tmp_path, LMWRIGHT_DATA=data())
    assert "train 6,920, validation 872, test 1,821" in shown.stdout
    assert shown.stdout.count("  text: ") == 3

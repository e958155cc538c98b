"""Every shipped recipe: planned without data or torch, and those that compare models run small."""

import json

import pytest

from lmwright.pipeline.recipe import load_recipe, recipe_names
from tests.end_to_end.cases import lmwright
from tests.real_data import real_data_folder

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "batch_tokens": 512,
    "compile": "off",
    "budget": "4 steps",
}


def small(recipe: str) -> list[str]:
    """Overrides that make every pretraining of a recipe tiny."""
    steps = [
        step.name for step in load_recipe(recipe).steps if step.type.name == "training.pretrain"
    ]
    return [f"{step}.{key}={value}" for step in steps for key, value in SMALL.items()]


@pytest.fixture
def prose(tmp_path):
    """A text file of a few thousand words, none of them anybody's."""
    words = ["the", "a", "river", "stone", "walks", "under", "over", "slowly", "it", "never", "far"]
    lines = [
        " ".join(words[(i * j + j) % len(words)] for j in range(1, 14)) + "." for i in range(1, 400)
    ]
    file = tmp_path / "prose.txt"
    file.write_text("\n\n".join(" ".join(lines[i : i + 8]) for i in range(0, len(lines), 8)))
    return file


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_is_planned_in_no_time(recipe, tmp_path):
    planned = lmwright("run", recipe, "--dry-run", runs=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "plan of" in planned.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["families", "positions", "optimizers", "experts"])
def test_models_are_compared_on_held_out_text(recipe, prose, tmp_path):
    done = lmwright(
        "run",
        recipe,
        f"corpus.path={prose}",
        "tokenizer.vocab_size=300",
        *small(recipe),
        runs=tmp_path / "runs",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / recipe
    found = json.loads((run / "steps/comparison/output/evaluation.json").read_text())
    trained = [s.name for s in load_recipe(recipe).steps if s.type.name == "training.pretrain"]
    assert list(found) == trained
    summary = json.loads((run / "summary.json").read_text())
    for name, values in found.items():
        assert 0 < values["bits_per_byte"] < 20
        assert summary[f"bits_per_byte_{name}"] == pytest.approx(values["bits_per_byte"], abs=1e-4)
        if recipe == "families":
            assert values["relative_to_transformers"] < 1e-4
    if recipe == "experts":
        assert found["experts"]["active_parameters"] < found["experts"]["parameters"]


@pytest.mark.slow
def test_three_objectives_and_what_follows_from_one(prose, tmp_path):
    data = real_data_folder()
    shape = "{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2}"
    done = lmwright(
        "run",
        "objectives",
        f"corpus.path={prose}",
        *(f"{name}.vocab_size=300" for name in ("wordpieces", "unigrams", "byte_pairs")),
        *small("objectives"),
        "dataset.limit=60",
        f"encoder.shape={shape}",
        "encoder.budget=4 steps",
        "pretrained.budget=4 steps",
        runs=tmp_path / "runs",
        LMWRIGHT_DATA=str(data),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "objectives"
    found = json.loads((run / "steps/comparison/output/evaluation.json").read_text())
    assert {n: f["family"] for n, f in found.items()} == {n: n for n in ("gpt2", "t5", "bert")}
    assert all(f["relative_to_transformers"] < 1e-4 for f in found.values())
    assert found["bert"]["bits_per_byte"] is None
    table = done.stdout
    assert "pretrained" in table
    assert "NB-SVM" in table

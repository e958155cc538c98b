"""The recipes that write texts: planned, run on one's own rows made small, on chats, on a set."""

import json
import random

import pytest

from tests.end_to_end.cases import lmwright
from tests.real_data import real_data_folder

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
RECIPES = ("translation", "summarization", "chatbot")
MODELS = ("recurrent", "transformer")
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
SMALL = (
    "tokenizer.vocab_size=400",
    "tokenizer.kind=bpe",
    "recurrent.shape={embedding_size: 32, hidden_size: 32}",
    "transformer.shape={hidden_size: 32, num_attention_heads: 2, intermediate_size: 64, "
    "num_hidden_layers: 1}",
    *(f"{model}.budget=6 steps" for model in MODELS),
    *(f"{model}.evaluations=1" for model in MODELS),
    *(f"{model}.validation_examples=40" for model in MODELS),
    "evaluation.rows=20",
    "evaluation.most_tokens=8",
)


def written(path, make, count=120):
    draw = random.Random(0)
    path.write_text("".join(json.dumps(make(i, draw)) + "\n" for i in range(count)))
    return f"dataset.path={path}"


def pair(index, draw):
    words = draw.choices(NUMBERS, k=3)
    return {"source": f"{index}: {' '.join(words)}", "target": " ".join(reversed(words))}


def chat(index, draw):
    said = [f"{index} {draw.choice(NUMBERS)}?", "yes", "and then?", draw.choice(NUMBERS)]
    roles = ("user", "assistant") * 2
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]}


def talk(index, draw):
    lines = [f"#Person{1 + i % 2}#: {index} {draw.choice(NUMBERS)}." for i in range(5)]
    return {"dialogue": "\n".join(lines), "summary": f"They count to {draw.choice(NUMBERS)}."}


CASES = {
    "translation": (pair, ("bleu", "chrf"), "the_source_copied"),
    "summarization": (talk, ("rouge1", "rouge2", "rougeLsum", "chrf"), "lead_3"),
    "chatbot": (chat, ("exact_match", "bleu"), "tf_idf_lookup"),
}


def checked(run, recipe):
    """The summary of a finished run, with every score of every system in its range."""
    summary = json.loads((run / "summary.json").read_text())
    _, scores, baseline = CASES[recipe]
    for score in scores:
        for name in (*MODELS, baseline):
            assert 0 <= summary[f"{score}_{name}"] <= 100
    for model in MODELS:
        assert summary[f"{model}_steps"] == 6
    return summary


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_planned_whole(tmp_path, recipe):
    planned = lmwright("run", recipe, "--dry-run", runs=tmp_path, LMWRIGHT_DATA=str(tmp_path))
    assert planned.returncode == 0, planned.stderr
    for step in ("corpora.dataset", "training.translate", "evaluation.sequences", *MODELS):
        assert step in planned.stdout
    assert not list(tmp_path.iterdir())


def test_own_pairs_are_translated(tmp_path):
    own = written(tmp_path / "pairs.jsonl", pair)
    done = lmwright("run", "translation", own, *SMALL, runs=tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    checked(tmp_path / "runs" / "translation", "translation")
    assert "BLEU" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["summarization", "chatbot"])
def test_own_rows_take_the_place_of_a_set(tmp_path, recipe):
    own = written(tmp_path / "mine.jsonl", CASES[recipe][0])
    done = lmwright("run", recipe, own, *SMALL, runs=tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    checked(tmp_path / "runs" / recipe, recipe)
    again = lmwright("run", recipe, own, *SMALL, runs=tmp_path / "runs")
    assert "kept" in again.stdout


@pytest.mark.slow
def test_a_chatbot_needs_no_file(tmp_path):
    small = (*SMALL, "dataset.names=20")
    done = lmwright("run", "chatbot", *small, runs=tmp_path, LMWRIGHT_DATA=str(tmp_path / "none"))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = checked(tmp_path / "chatbot", "chatbot")
    # Every name is one rare word: a lookup finds nearly all. A model has to be as good.
    assert summary["exact_match_tf_idf_lookup"] > 0.7


@pytest.mark.slow
def test_published_dialogues_are_summarised(tmp_path):
    folder = str(real_data_folder())
    small = (*SMALL, "dataset.limit=60")
    done = lmwright("run", "summarization", *small, runs=tmp_path, LMWRIGHT_DATA=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = checked(tmp_path / "summarization", "summarization")
    assert summary["rouge1_lead_3"] > 15
    assert "best of 3" in done.stdout

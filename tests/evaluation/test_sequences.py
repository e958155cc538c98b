"""The evaluation of written texts: scores by task, baselines, texts in the order of their rows."""

import itertools
import json

import pytest

from lmwright import models, tokens
from lmwright.core.errors import LmwrightError
from lmwright.corpora.datasets import read_rows
from lmwright.engine import encoder_decoder
from lmwright.evaluation import sequence_baselines
from lmwright.evaluation.commands import SequencesConfig
from lmwright.evaluation.sequence_scores import scores_of
from lmwright.evaluation.sequences import evaluate
from lmwright.metrics.summaries import rouge
from lmwright.metrics.translation import bleu, chrf
from lmwright.pipeline.run import StepRun
from lmwright.tokens import examples as stored
from lmwright.training import task_models
from lmwright.training.commands import TranslateConfig
from lmwright.training.task_shapes import Needs
from lmwright.training.task_steps import translate
from tests.training.task_cases import material

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")
TASKS = ("translation", "summarization", "dialogue")
QUICK = {"batch_tokens": 512, "evaluations": 2, "learning_rate": 4e-3, "precision": "float32"}
TRANSFORMER = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module", params=TASKS)
def paths(request, tmp_path_factory):
    return {
        "task": request.param,
        **material(tmp_path_factory.mktemp(request.param), request.param, rows=200),
    }


@pytest.fixture(scope="module")
def recurrent(paths, tmp_path_factory):
    """A model as it begins: what it writes is arbitrary, and always the same."""
    folder = tmp_path_factory.mktemp("model") / "recurrent"
    needs = Needs.of(stored.read_metadata(paths["examples"]))
    kind, shape = {"model_type": "recurrent_encoder_decoder"}, {"hidden_size": 16}
    model = task_models.new_model(kind, shape, needs, seed=0)
    models.save(model.eval(), folder, tokenizer=paths["tokenizer"])
    return folder


def evaluated(folder, paths, config=None, **trained):
    run = StepRun.standalone(folder)
    names = ("dataset", "examples", "tokenizer")
    evaluate(config or SequencesConfig(), run, **{n: paths[n] for n in names}, **trained)
    return run, json.loads((run.output / "evaluation.json").read_text())


def test_a_model_is_scored_beside_what_needs_none(paths, recurrent, tmp_path):
    config = SequencesConfig(rows=30, most_tokens=10, shown=4)
    run, written = evaluated(tmp_path / "step", paths, config, recurrent=recurrent, other=None)
    (table,) = run.record.tables
    titles = {
        "translation": ["BLEU", "chrF2"],
        "summarization": ["ROUGE-1", "ROUGE-2", "ROUGE-Lsum", "chrF2"],
        "dialogue": ["exact match", "BLEU"],
    }[paths["task"]]
    assert table.columns == ["system", "parameters", *titles, "texts per second"]
    baseline, model = table.rows
    assert model[0] == "recurrent"
    assert len(written["references"]) == len(written["systems"]["recurrent"]) == 30
    texts = written["systems"]["recurrent"], written["systems"][baseline[0]]
    for score in scores_of(paths["task"], texts[0], written["references"]).scores:
        assert run.record.summary[f"{score.key}_recurrent"] == score.value
        assert score.shown in model
    keys = [key for key in run.record.summary if not key.endswith("_recurrent")]
    assert len(keys) == len(titles)
    (samples,) = run.record.samples
    assert [row["written by recurrent"] for row in samples["rows"]] == texts[0][:4]
    assert set(samples["rows"][0]) == {"source", "expected", "written by recurrent"}


def test_each_text_belongs_to_its_row(paths, recurrent, tmp_path):
    """Sources are read in batches by their lengths; alone each gives the same."""
    config = SequencesConfig(rows=40, most_tokens=6)
    _, written = evaluated(tmp_path / "step", paths, config, recurrent=recurrent)
    test = stored.open(paths["examples"], "test").spread(40)
    model, words = models.load(recurrent), tokens.load(paths["tokenizer"])
    for index in (0, 7, 21, 39):
        batch = test.batch([index])
        (ids,) = encoder_decoder.generate(
            model, batch.input_ids, batch.attention_mask, max_tokens=6
        )
        assert written["systems"]["recurrent"][index] == words.decode(ids).strip()


def test_the_right_texts_are_those_of_the_rows(paths, recurrent, tmp_path):
    config = SequencesConfig(rows=80, most_tokens=2)
    _, written = evaluated(tmp_path / "step", paths, config, recurrent=recurrent)
    rows = read_rows(paths["dataset"], "test")
    several = paths["task"] == "summarization"
    expected = [row["summaries"] if several else [row["target"]] for row in rows]
    assert written["references"] == expected


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("recurrent", {"embedding_size": 32, "hidden_size": 64, "attention": "bahdanau"}),
        ("encoder_decoder", TRANSFORMER),
    ],
)
def test_an_answer_that_was_learned_is_exact(tmp_path, architecture, shape):
    paths = material(tmp_path / "chats", "dialogue", rows=300)
    trained = StepRun.standalone(tmp_path / "train")
    settings = {"budget": "120 steps", "label_smoothing": 0.0, **QUICK}
    config = TranslateConfig(architecture=architecture, shape=shape, **settings)
    translate(config, trained, examples=paths["examples"], tokenizer=paths["tokenizer"])
    config = SequencesConfig(most_tokens=12, beams=2)
    run, _ = evaluated(tmp_path / "step", paths, config, model=trained.output)
    assert run.record.summary["exact_match_model"] > 0.8
    assert run.record.summary["bleu_model"] > 80
    assert run.record.summary["exact_match_tf_idf_lookup"] > 0.7


def test_scores_are_those_of_the_metrics():
    texts, references = ["a b c d e", "x y"], [["a b c d f"], ["x y"]]
    translation = scores_of("translation", texts, references).scores
    assert [score.key for score in translation] == ["bleu", "chrf"]
    assert translation[0].value == round(bleu(texts, references).value, 2)
    assert translation[1].value == round(chrf(texts, references).value, 2)
    summaries = scores_of("summarization", texts, references).scores
    found = rouge(texts, references)
    expected = [found.rouge1, found.rouge2, found.rougeLsum]
    assert [score.value for score in summaries[:3]] == [round(value, 2) for value in expected]
    match, words = scores_of("dialogue", texts, references).scores
    assert (match.key, match.value, words.key) == ("exact_match", 0.5, "bleu")


def test_the_lead_is_turns_or_of_plain_text_sentences():
    assert sequence_baselines.lead("a: 1\nb: 2\na: 3\nb: 4") == "a: 1\nb: 2\na: 3"
    assert sequence_baselines.lead("One. Two! Three? Four.") == "One.\nTwo!\nThree?"


def test_the_lookup_compares_what_finds_the_answers():
    """In a conversation the last line asks; in rows of several lines any line may."""
    names = [f"n{i}" for i in range(30)]
    training = [{"source": f"what is {name}", "target": f"it is {name}"} for name in names]

    def two_turns(first, second):
        return {"source": f"what is {first}\nit is {first}\nand {second}", "target": second}

    followed = list(itertools.pairwise(names))
    rows = [{**two_turns(a, b), "target": f"it is {b}"} for a, b in followed]
    found = sequence_baselines.nearest_answers(training, rows, [row["source"] for row in rows])
    assert found == [row["target"] for row in rows]
    swapped = [{"source": f"{name}\nplease", "target": f"it is {name}"} for name in names]
    found = sequence_baselines.nearest_answers(training, swapped, ["n7\nplease"])
    assert found == ["it is n7"]


def test_what_cannot_be_scored_is_told(paths, tmp_path):
    with pytest.raises(LmwrightError, match="no model to evaluate"):
        evaluated(tmp_path / "none", paths)
    other = material(tmp_path / "opinions", "classification", rows=40)
    with pytest.raises(LmwrightError, match="is for classification"):
        evaluated(tmp_path / "other", other, model=tmp_path)


def test_missing_scorers_are_told_before_anything_is_trained(monkeypatch):
    from lmwright.evaluation import commands
    from lmwright.pipeline.recipe import load_recipe

    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(LmwrightError, match="extra `tasks`"):
        load_recipe("translation")

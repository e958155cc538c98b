"""The evaluation of labelled tasks: baselines, models by their words, tables, and errors."""

import json
import random

import numpy as np
import pytest
import torch

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.corpora import catalog
from lmwright.evaluation import task_baselines, task_systems
from lmwright.evaluation.commands import TaskEvaluationConfig
from lmwright.evaluation.task_steps import evaluate
from lmwright.evaluation.task_systems import Answers, gather
from lmwright.evaluation.task_tables import kind_of
from lmwright.metrics.classification import accuracy
from lmwright.pipeline.run import StepRun
from lmwright.tokens import examples as stored
from lmwright.training import task_models
from lmwright.training.task_shapes import Needs
from tests.real_data import real_data_folder
from tests.training.task_cases import material


@pytest.fixture(scope="module")
def opinions(tmp_path_factory):
    return material(tmp_path_factory.mktemp("opinions"), "classification")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return material(tmp_path_factory.mktemp("reports"), "tagging")


def fresh_model(paths, folder, kind, shape):
    needs = Needs.of(stored.read_metadata(paths["examples"]))
    model = task_models.new_model(kind, shape, needs, seed=0)
    models.save(model.eval(), folder, tokenizer=paths["tokenizer"])
    return model


@pytest.fixture(scope="module")
def perceptron(opinions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("perceptron") / "model"
    fresh_model(opinions, folder, {"model_type": "perceptron"}, {"embedding_size": 8})
    return folder


def classes(count, seed):
    """Rows whose words tell the class, and others whose words do not."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        label = draw.choice(["a", "b", "c"])
        words = draw.choices("uvwxyz", k=6) + draw.choices([f"{label}{i}" for i in range(4)], k=2)
        rows.append({"text": " ".join(draw.sample(words, 8)), "label": label})
    return rows


@pytest.mark.parametrize("baseline", [task_baselines.tfidf, task_baselines.nb_svm])
def test_counted_words_tell_classes_apart(baseline):
    splits = {"train": classes(300, 0), "validation": classes(60, 1), "test": classes(100, 2)}
    expected = [row["label"] for row in splits["test"]]
    assert accuracy(expected, baseline(splits)) > 0.95
    assert accuracy(expected, task_baselines.majority(splits)) < 0.5


@pytest.mark.slow
def test_sentiment_baselines_reach_what_the_field_knows(real_data):
    splits = catalog.rows(catalog.find("sst2"))
    expected = [row["label"] for row in splits["test"]]
    # Wang & Manning's bigrams on these sentences: 0.82 to 0.83; TF-IDF with an SVM 0.80 to 0.81.
    assert accuracy(expected, task_baselines.nb_svm(splits)) == pytest.approx(0.827, abs=0.012)
    assert accuracy(expected, task_baselines.tfidf(splits)) == pytest.approx(0.815, abs=0.015)


def test_one_class_alone_is_an_error():
    rows = [{"text": "x", "label": "a"}] * 4
    with pytest.raises(LmwrightError, match="nothing to tell apart"):
        task_baselines.tfidf({"train": rows, "validation": rows, "test": rows})


def test_a_word_gets_its_commonest_tag_and_a_new_one_that_of_rare_words():
    train = [
        {"tokens": ["the", "Ann", "the", "Oslo"], "tags": ["O", "B-PER", "O", "B-LOC"]},
        {"tokens": ["the", "the", "Bob"], "tags": ["B-PER", "O", "B-PER"]},
    ]
    test = [{"tokens": ["the", "Zoe"], "tags": ["O", "O"]}]
    found = task_baselines.commonest_tags({"train": train, "test": test})
    assert found == [["O", "B-PER"]]


def test_a_model_is_scored_beside_the_baselines(opinions, perceptron, tmp_path):
    run = StepRun.standalone(tmp_path / "step")
    config = TaskEvaluationConfig(shown_errors=3)
    evaluate(
        config,
        run,
        dataset=opinions["dataset"],
        examples=opinions["examples"],
        perceptron=perceptron,
        encoder=None,
    )
    scores, by_class = run.record.tables
    names = [row[0] for row in scores.rows]
    assert names == ["commonest class", "TF-IDF, logistic regression", "NB-SVM", "perceptron"]
    assert [row[0] for row in by_class.rows] == ["bad", "good"]
    written = json.loads((run.output / "evaluation.json").read_text())
    model = models.load(perceptron)
    batch = stored.open(opinions["examples"], "test").batch(range(80))
    with torch.no_grad():
        ids = model(batch.input_ids, batch.attention_mask).logits.argmax(1)
    assert written["systems"]["perceptron"] == [("bad", "good")[i] for i in ids]
    share = accuracy(written["expected"], written["systems"]["perceptron"])
    assert run.record.summary["perceptron_accuracy"] == pytest.approx(share, abs=1e-5)
    assert run.record.summary["nb_svm_accuracy"] > 0.95
    (samples,) = run.record.samples
    assert len(samples["rows"]) == 3
    assert all(row["predicted"].split()[0] != row["expected"] for row in samples["rows"])


@pytest.mark.parametrize("compare_by", ["macro_f1", "matthews"])
def test_classes_may_be_compared_by_another_score(opinions, perceptron, tmp_path, compare_by):
    run = StepRun.standalone(tmp_path / "step")
    config = TaskEvaluationConfig(compare_by=compare_by)
    evaluate(
        config,
        run,
        dataset=opinions["dataset"],
        examples=opinions["examples"],
        perceptron=perceptron,
    )
    assert run.record.tables[0].columns[1] == compare_by.replace("_", " ")


def test_taggers_are_scored_by_entities(reports, tmp_path):
    shape = {"embedding_size": 8, "hidden_size": 8, "crf": True}
    kind = {"model_type": "recurrent", "task": "token_classification"}
    fresh_model(reports, tmp_path / "model", kind, shape)
    run = StepRun.standalone(tmp_path / "step")
    evaluate(
        TaskEvaluationConfig(),
        run,
        dataset=reports["dataset"],
        examples=reports["examples"],
        recurrent_crf=tmp_path / "model",
    )
    written = json.loads((run.output / "evaluation.json").read_text())
    lengths = [len(tags) for tags in written["expected"]]
    assert [len(tags) for tags in written["systems"]["recurrent_crf"]] == lengths
    assert run.record.summary["commonest_tag_of_the_word_entity_f1"] > 0.9
    assert [row[0] for row in run.record.tables[1].rows][-1] == "all"


def test_readers_are_scored_by_squads_measures(tmp_path):
    paths = material(tmp_path / "questions", "question_answering", rows=60)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    fresh_model(paths, tmp_path / "model", {"model_type": "encoder"}, shape)
    run = StepRun.standalone(tmp_path / "step")
    evaluate(
        TaskEvaluationConfig(),
        run,
        dataset=paths["dataset"],
        examples=paths["examples"],
        encoder=tmp_path / "model",
    )
    (scores,) = run.record.tables
    assert scores.columns[:3] == ["system", "f1", "exact match"]
    written = json.loads((run.output / "evaluation.json").read_text())
    rows = zip(written["expected"], written["systems"]["encoder"], strict=True)
    right = [said == answers["text"][0] for answers, said in rows]
    assert run.record.summary["encoder_exact_match"] == pytest.approx(np.mean(right), abs=1e-5)
    # The context is one sentence: the answer is in it, among many other words.
    assert 0 < run.record.summary["nearest_sentence_f1"] < 0.3


def test_words_that_were_cut_off_are_tagged_as_nothing(reports):
    test = gather(reports["dataset"], reports["examples"])
    short = test.examples.take(np.arange(len(test.examples)))
    kept = int(short.lengths[0])
    words = len(test.test[0]["tokens"])

    class Tagger(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            class Out:
                logits = torch.zeros(*input_ids.shape, 5)

            Out.logits[..., 1] = 1.0
            return Out

    # The first example loses its last three tokens: the end and at least one word.
    keep = [i for i in range(len(short.input_ids)) if not kept - 3 <= i < kept]
    short.input_ids, short.labels = short.input_ids[keep], short.labels[keep]
    short.places = short.places[keep]
    short.starts = np.where(short.starts > 0, short.starts - 3, 0)
    cut = task_systems.Material(test.description, test.splits, short)
    found = task_systems.tags_of_words(Tagger(), cut, test.description.labels)
    assert len(found[0]) == words
    assert found[0][-1] == "O"
    assert found[0][0] == "B-PER"
    assert found[1] == ["B-PER"] * len(found[1])


def test_a_paired_difference_is_that_of_the_scores(opinions):
    test = gather(opinions["dataset"], opinions["examples"])
    kind = kind_of(test, "accuracy")
    right = Answers("right", [row["label"] for row in test.test], 0.0)
    items = kind.items(right, test)
    assert kind.statistic(items) == 1.0
    assert kind.others["matthews"](items) == pytest.approx(1.0)


def test_a_model_of_other_labels_is_refused(opinions, reports, perceptron, tmp_path):
    with pytest.raises(LmwrightError, match="tells 2 labels"):
        evaluate(
            TaskEvaluationConfig(),
            StepRun.standalone(tmp_path / "step"),
            dataset=reports["dataset"],
            examples=reports["examples"],
            perceptron=perceptron,
        )


def test_nothing_to_evaluate_is_an_error(opinions, tmp_path):
    paths = {name: opinions[name] for name in ("dataset", "examples")}
    with pytest.raises(LmwrightError, match="no model to evaluate"):
        evaluate(TaskEvaluationConfig(), StepRun.standalone(tmp_path / "step"), **paths)


@pytest.fixture
def real_data():
    return real_data_folder()

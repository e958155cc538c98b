"""Classifiers, taggers and translators of every architecture learn, are kept and come back."""

import copy
import json

import numpy as np
import pytest
import torch

from lmwright import models
from lmwright.core.errors import LmwrightError
from lmwright.corpora.datasets import read_rows
from lmwright.models import classic_accounting
from lmwright.pipeline.recipe import load_recipe
from lmwright.pipeline.run import StepRun
from lmwright.tokens import examples as stored
from lmwright.tokens.example_loader import ExampleLoader
from lmwright.training import costs, predictions, task_models
from lmwright.training.commands import AnswerConfig, ClassifyConfig, TagConfig, TranslateConfig
from lmwright.training.objectives.classification import Classification
from lmwright.training.task_shapes import Needs
from lmwright.training.task_steps import answer, classify, tag, translate
from lmwright.training.trainer import Trainer
from tests.training.task_cases import material

QUICK = {"batch_tokens": 512, "evaluations": 2, "learning_rate": 1e-2, "precision": "float32"}
TRANSFORMER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def opinions(tmp_path_factory):
    return material(tmp_path_factory.mktemp("opinions"), "classification")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return material(tmp_path_factory.mktemp("reports"), "tagging")


def inputs(paths):
    return {name: paths[name] for name in ("examples", "tokenizer")}


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("perceptron", {"embedding_size": 16, "hidden_size": 16}),
        ("text_cnn", {"embedding_size": 16, "num_filters": 8, "batch_norm": True}),
        ("recurrent", {"embedding_size": 16, "hidden_size": 16, "bidirectional": True}),
        ("encoder", {**TRANSFORMER, "dropout": 0.1}),
    ],
)
def test_a_classifier_learns_and_comes_back(opinions, tmp_path, architecture, shape):
    run = StepRun.standalone(tmp_path / "step")
    config = ClassifyConfig(architecture=architecture, shape=shape, budget="40 steps", **QUICK)
    classify(config, run, **inputs(opinions))
    model = models.load(run.output)
    assert task_models.label_names(model) == ("bad", "good")
    test = stored.open(opinions["examples"], "test")
    logits = predictions.class_logits(model, test)
    assert (logits.argmax(1) == test.labels).mean() > 0.9
    assert run.record.summary["step_validation_accuracy"] > 0.9
    # Whatever the order and padding that a batch gives an example.
    alone = predictions.class_logits(model, test.take(np.array([7])))
    assert np.allclose(alone[0], logits[7], atol=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_a_tagger_learns_and_comes_back(reports, tmp_path, crf):
    shape = {"embedding_size": 16, "hidden_size": 16, "bidirectional": True, "crf": crf}
    run = StepRun.standalone(tmp_path / "step")
    config = TagConfig(architecture="recurrent", shape=shape, budget="60 steps", **QUICK)
    tag(config, run, **inputs(reports))
    model = models.load(run.output)
    assert (model.crf is not None) == crf
    test = stored.open(reports["examples"], "test")
    found, loss = predictions.tags(model, test)
    truth = test.word_labels()
    pairs = [pair for rows in zip(truth, found, strict=True) for pair in zip(*rows, strict=True)]
    assert np.mean([a == b for a, b in pairs]) > 0.95
    assert 0 < loss < 0.5
    assert run.record.summary["step_validation_entity_f1"] > 0.9


def test_a_tagger_may_be_a_transformer(reports, tmp_path):
    run = StepRun.standalone(tmp_path / "step")
    config = TagConfig(architecture="encoder", shape=TRANSFORMER, budget="40 steps", **QUICK)
    tag(config, run, **inputs(reports))
    assert run.record.summary["step_validation_entity_f1"] > 0.8
    assert (run.output / "config.json").is_file()


def test_a_reader_learns_where_answers_stand(tmp_path):
    paths = material(tmp_path / "questions", "question_answering", rows=200)
    run = StepRun.standalone(tmp_path / "step")
    config = AnswerConfig(shape=TRANSFORMER, budget="40 steps", **QUICK)
    answer(config, run, **inputs(paths))
    assert run.record.summary["step_validation_exact_match"] > 0.9
    examples = stored.open(paths["examples"], "test")
    assert len(examples) > len(set(examples.rows))  # some contexts take several windows
    found = predictions.answer_spans(models.load(run.output), examples)
    rows = read_rows(paths["dataset"], "test")
    said = [row["context"][slice(*found[i])] for i, row in enumerate(rows)]
    assert np.mean([a == r["answers"]["text"][0] for a, r in zip(said, rows, strict=True)]) > 0.9


def test_a_number_is_learned_by_its_squared_error(tmp_path):
    paths = material(tmp_path / "numbers", "regression", rows=200)
    run = StepRun.standalone(tmp_path / "step")
    shape = {"embedding_size": 16, "hidden_size": 16}
    config = ClassifyConfig(architecture="perceptron", shape=shape, budget="80 steps", **QUICK)
    classify(config, run, **inputs(paths))
    test = stored.open(paths["examples"], "test")
    scores = predictions.class_logits(models.load(run.output), test)[:, 0]
    assert np.corrcoef(scores, test.labels)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("recurrent", {"embedding_size": 16, "hidden_size": 32}),
        ("encoder_decoder", TRANSFORMER),
    ],
)
def test_a_translator_learns_and_comes_back(tmp_path, architecture, shape):
    paths = material(tmp_path / "copies", "translation", rows=200)
    run = StepRun.standalone(tmp_path / "step")
    config = TranslateConfig(architecture=architecture, shape=shape, budget="40 steps", **QUICK)
    translate(config, run, **inputs(paths))
    model = models.load(run.output)
    test = stored.open(paths["examples"], "test")
    batch = test.batch(range(4))
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    with torch.no_grad():
        logits = model(**{name: getattr(batch, name) for name in names}).logits
    assert logits.shape[:2] == batch.labels.shape
    # A guess among the words of this language costs log 8 = 2.1 nats.
    assert run.record.summary["step_validation_loss"] < 2.0


def test_a_pretrained_encoder_gets_a_new_head(opinions, reports, tmp_path):
    first = StepRun.standalone(tmp_path / "first")
    config = TagConfig(architecture="encoder", shape=TRANSFORMER, budget="5 steps", **QUICK)
    tag(config, first, **inputs(reports))
    needs = Needs.of(stored.read_metadata(opinions["examples"]))
    model = task_models.published_model(first.output, needs)
    before = models.load(first.output).backbone.state_dict()
    assert all(torch.equal(before[k], v) for k, v in model.backbone.state_dict().items())
    assert task_models.label_names(model) == ("bad", "good")
    second = StepRun.standalone(tmp_path / "second")
    config = ClassifyConfig(budget="20 steps", **QUICK)
    classify(config, second, **inputs(opinions), model=first.output)
    assert second.record.summary["second_validation_accuracy"] > 0.8


def test_the_best_measured_model_is_the_one_that_is_kept(opinions, tmp_path):
    run = StepRun.standalone(tmp_path / "step")
    config = ClassifyConfig(
        architecture="perceptron",
        shape={"embedding_size": 16},
        budget="12 steps",
        **QUICK | {"evaluations": 12, "learning_rate": 1.0},
        chosen_by="loss",
    )
    classify(config, run, **inputs(opinions))
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    losses = [row["validation_loss"] for row in rows if "validation_loss" in row and row["step"]]
    assert run.record.summary["step_validation_loss"] == pytest.approx(min(losses), abs=1e-4)


def test_a_killed_training_ends_as_if_it_had_not_been(opinions, tmp_path, monkeypatch):
    config = ClassifyConfig(
        architecture="text_cnn",
        shape={"embedding_size": 16, "num_filters": 4, "dropout": 0.3, "batch_norm": True},
        budget="24 steps",
        **QUICK | {"evaluations": 6},
        checkpoint_every="5 steps",
    )
    whole = StepRun.standalone(tmp_path / "whole")
    classify(config, whole, **inputs(opinions))

    class Killed(Exception):
        pass

    advance = Trainer._advance
    steps = []

    def killed(self, batch):
        if len(steps) == 17:
            raise Killed
        steps.append(self.step)
        return advance(self, batch)

    monkeypatch.setattr(Trainer, "_advance", killed)
    with pytest.raises(Killed):
        classify(config, StepRun.standalone(tmp_path / "killed"), **inputs(opinions))
    monkeypatch.setattr(Trainer, "_advance", advance)
    resumed = StepRun.standalone(tmp_path / "killed")
    classify(config, resumed, **inputs(opinions))
    assert any("continues from step 15" in note for note in resumed.record.notes)
    first, second = (models.load(run.output) for run in (whole, resumed))
    other = second.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_data_is_not_seen_more_often_than_allowed(opinions, tmp_path):
    run = StepRun.standalone(tmp_path / "step")
    config = ClassifyConfig(architecture="perceptron", budget="500 steps", epochs=2, **QUICK)
    classify(config, run, **inputs(opinions))
    assert run.record.summary["step_epochs"] == pytest.approx(2, abs=0.2)
    assert any("as often as this data should be seen" in note for note in run.record.notes)


def test_a_task_the_step_cannot_do_is_refused(reports, tmp_path):
    with pytest.raises(LmwrightError, match="the examples are for tagging"):
        classify(ClassifyConfig(budget="1 steps"), StepRun.standalone(tmp_path), **inputs(reports))


def test_a_score_that_is_not_measured_is_refused(opinions, tmp_path):
    config = ClassifyConfig(architecture="perceptron", budget="1 steps", chosen_by="entity_f1")
    with pytest.raises(LmwrightError, match="choose one of: loss, accuracy"):
        classify(config, StepRun.standalone(tmp_path), **inputs(opinions))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("text_cnn.shape.num_filter=3", "num_filter"),
        ("encoder.shape.layers=3", "layers"),
        ("perceptron.shape.num_layers=-1", "num_layers"),
    ],
)
def test_an_impossible_shape_is_told_before_the_first_step(key, said):
    with pytest.raises(LmwrightError, match=said):
        load_recipe("text_classification", [key])


def test_memory_is_what_autograd_keeps(opinions):
    needs = Needs.of(stored.read_metadata(opinions["examples"]))
    kind = {"model_type": "perceptron"}
    model = task_models.new_model(kind, {"embedding_size": 16}, needs, 0)
    loader = ExampleLoader(stored.open(opinions["examples"], "train"), batch_tokens=512, seed=0)
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    found = costs.measured(model, Classification(), loader.typical(), "adamw")
    assert torch.rand(1) == drawn
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    weights = classic_accounting.parameters(model.config)["total"]
    assert found.memory_bytes(0, "float32") == 16 * weights
    assert found.memory_bytes(8, "float32") - found.memory_bytes(4, "float32") == pytest.approx(
        found.memory_bytes(4, "float32") - 16 * weights, rel=1e-3
    )

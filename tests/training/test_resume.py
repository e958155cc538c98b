"""Dropout and masks in the loop: on while training, off while measuring, equal after a kill."""

import json

import pytest
import torch
from torch import nn

from lmwright.core.duration import Duration
from lmwright.pipeline.run import StepRun
from lmwright.tokens.loader import Loader
from lmwright.training.budget import TrainingPlan, Wishes, choose_plan
from lmwright.training.callbacks import Callback, Evaluate, SaveCheckpoints
from lmwright.training.objectives.masked_lm import MaskedLM
from lmwright.training.optimizers import build
from lmwright.training.trainer import LoopSettings, Trainer
from lmwright.training.validation import ValidationLoss
from tests.training.cases import random_batch, random_rows
from tests.training.small_models import VOCAB, MaskedReader


class Killed(BaseException):
    """What a test throws into the loop; nothing catches it."""


class KillAt(Callback):
    def __init__(self, step):
        self.at = step

    def on_step(self, trainer, result):
        if trainer.step == self.at:
            raise Killed


def masked_lm(seed=0):
    return MaskedLM(VOCAB, 60, (0,), seed=seed)


def optimizers_of(model, name="adafactor"):
    return build(
        model, None, name=name, learning_rate=1e-2, matrix_learning_rate=1e-2, weight_decay=0.01
    )


def make_trainer(folder, *, kill_at=0, every=5, evaluate_every=3, measure=None, seed=0):
    model = MaskedReader(dropout=0.3)
    validation = ValidationLoss(random_rows(9), masked_lm(seed=5), seed=0)

    def measure_and_sample(measured):
        torch.rand(3)  # a measurement that samples
        return validation(measured)

    run = StepRun.standalone(folder)
    return Trainer(
        model,
        masked_lm(),
        Loader(random_rows(4), batch_rows=4, seed=1),
        optimizers_of(model),
        TrainingPlan(steps=12, micro_rows=2, threads=1),
        settings=LoopSettings(seed=seed),
        callbacks=[
            Evaluate(evaluate_every, measure or measure_and_sample, run),
            SaveCheckpoints(every),
            KillAt(kill_at),
        ],
        folder=folder / "checkpoints",
        note=lambda text: None,
    )


def measured(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation_loss"]) for line in lines]


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("kill_at", [1, 4, 5, 6, 11])
def test_dropout_and_masks_resume_to_the_bit(tmp_path, kill_at):
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Killed):
        make_trainer(tmp_path / "cut", kill_at=kill_at).train()
    torch.manual_seed(12345)  # a new process would not have our random state either
    resumed = make_trainer(tmp_path / "cut")
    resumed.train()
    assert torch.equal(weights(resumed), weights(whole))
    first, second = (measured(tmp_path / part) for part in ("whole", "cut"))
    assert [step for step, _ in first] == [3, 6, 9, 12]
    assert first == second


def test_dropout_depends_on_the_seed_alone(tmp_path):
    found = {}
    for name, keys in (("a", {}), ("often", {"evaluate_every": 1}), ("other", {"seed": 1})):
        trainer = make_trainer(tmp_path / name, **keys)
        torch.manual_seed(len(found))
        trainer.train()
        found[name] = weights(trainer)
    assert torch.equal(found["a"], found["often"])  # looking more often changes nothing
    assert not torch.equal(found["a"], found["other"])


@pytest.mark.parametrize("before", [False, True])
def test_trains_with_dropout_and_measures_without(tmp_path, before):
    modes = {"train": [], "measure": []}
    trainer = make_trainer(
        tmp_path, measure=lambda model: modes["measure"].append(model.dropout.training) or {}
    )
    trainer.model.train(before)
    loss = trainer.objective.loss
    trainer.objective.loss = lambda model, batch: (
        modes["train"].append(model.dropout.training) or loss(model, batch)
    )
    trainer.train()
    assert set(modes["train"]) == {True}
    assert len(modes["train"]) == 24
    assert set(modes["measure"]) == {False}
    assert trainer.model.dropout.training == before


def test_planning_moves_no_mask_and_no_dropout():
    model, task = MaskedReader(dropout=0.3).eval(), masked_lm()
    random, draws = torch.get_rng_state(), task.state_dict()
    choose_plan(
        Wishes(budget=Duration.parse("3 steps"), precision="float32", compile="off", micro_rows=4),
        model,
        task,
        random_batch(rows=4),
        started=0.0,
        memory_needed=lambda rows, precision: 1,
        optimizer_step=lambda module, dtype: optimizers_of(module).step,
    )
    assert torch.equal(torch.get_rng_state(), random)
    assert task.state_dict() == draws
    assert not model.training


def test_validation_hides_the_same_tokens_each_time():
    model: nn.Module = MaskedReader().eval()
    measure = ValidationLoss(random_rows(9), masked_lm(), seed=0)
    assert measure(model) == measure(model)

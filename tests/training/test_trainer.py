"""The loop: learning, resuming to the bit, guards, and hosting reinforcement learning."""

import copy

import pytest
import torch
from torch import nn

from lmwright.core.errors import CheckFailed, LmwrightError
from lmwright.pipeline.run import StepRun
from lmwright.tokens.loader import Loader
from lmwright.training import checkpoint
from lmwright.training.budget import TrainingPlan
from lmwright.training.callbacks import Callback, Evaluate, Guards, Log, SaveCheckpoints
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.objectives.loss import LossSum, Objective
from lmwright.training.optimizers import build
from lmwright.training.trainer import Trainer
from tests.training.cases import random_rows, tiny_decoder


class Killed(BaseException):
    """What a test throws into the loop; nothing catches it."""


class KillAt(Callback):
    def __init__(self, step):
        self.at = step

    def on_step(self, trainer, result):
        if trainer.step == self.at:
            raise Killed


def make_trainer(folder, *, steps=12, every=5, kill_at=0, optimizer="muon", learning_rate=1e-2):
    model = tiny_decoder(seed=3)
    run = StepRun.standalone(folder)
    score = {"n": 0}

    def measure(measured):
        score["n"] += 1
        total = sum(float(p.sum()) for p in measured.parameters())
        return {"validation_sum": total}

    return Trainer(
        model,
        CausalLM(),
        Loader(random_rows(4), batch_rows=4, seed=1),
        build(
            model,
            None,
            name=optimizer,
            learning_rate=learning_rate,
            matrix_learning_rate=learning_rate,
            weight_decay=0.01,
        ),
        TrainingPlan(steps=steps, micro_rows=2, threads=1),
        callbacks=[
            Guards(),
            Log(run, flops_per_token=1.0, peak_flops=1.0),
            Evaluate(3, measure, run, better=lambda found: -abs(found["validation_sum"])),
            SaveCheckpoints(every),
            KillAt(kill_at),
        ],
        folder=folder / "checkpoints",
        note=lambda text: None,
    )


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def logged(folder):
    import json

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    keep = ("step", "loss", "gradient_norm", "validation_sum")
    return [{k: v for k, v in json.loads(line).items() if k in keep} for line in lines]


def test_learns_a_pattern(tmp_path):
    trainer = make_trainer(tmp_path, steps=60)
    trainer.train()
    losses = [line["loss"] for line in logged(tmp_path) if "loss" in line]
    assert losses[0] > 3.5
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("kill_at", [1, 4, 5, 6, 11])
def test_resumes_to_the_bit(tmp_path, kill_at, optimizer):
    whole = make_trainer(tmp_path / "whole", optimizer=optimizer)
    whole.train()

    with pytest.raises(Killed):
        make_trainer(tmp_path / "cut", kill_at=kill_at, optimizer=optimizer).train()
    torch.manual_seed(12345)  # a new process would not have our random state either
    resumed = make_trainer(tmp_path / "cut", optimizer=optimizer)
    resumed.train()

    assert torch.equal(weights(resumed), weights(whole))
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(Killed):
        make_trainer(tmp_path, kill_at=6).train()
    folder = checkpoint.newest(tmp_path / "checkpoints").folder
    shard = next((folder / "tensors").glob("*.distcp"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(LmwrightError, match=f"{shard.name} does not match its checksum"):
        make_trainer(tmp_path).train()


def test_a_checkpoint_cut_short_by_a_kill_is_ignored(tmp_path, monkeypatch):
    """A kill between writing and renaming leaves a `.part` folder, and the last one is used."""

    def killed_before_the_rename(temporary, path):
        raise Killed

    monkeypatch.setattr("lmwright.core.files.publish_folder", killed_before_the_rename)
    with pytest.raises(Killed):
        make_trainer(tmp_path / "cut").train()
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path / "cut" / "checkpoints") is None
    resumed = make_trainer(tmp_path / "cut")
    resumed.train()
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    assert torch.equal(weights(resumed), weights(whole))


def test_keeps_the_best_weights(tmp_path):
    trainer = make_trainer(tmp_path, steps=12)
    evaluate = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    trainer.train()
    scores = {
        x["step"]: -abs(x["validation_sum"]) for x in logged(tmp_path) if "validation_sum" in x
    }
    best = max(scores, key=scores.get)
    assert evaluate.best_step == best
    total = sum(float(p.detach().sum()) for p in trainer.model.parameters())
    assert -abs(total) == pytest.approx(scores[best], abs=1e-5)


def test_says_that_earlier_weights_are_kept(tmp_path):
    trainer = make_trainer(tmp_path, steps=6)
    evaluate = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    evaluate.better = lambda found: -trainer.step
    before = weights(trainer)
    trainer.train()
    assert torch.equal(weights(trainer), before)
    assert evaluate.run.record.notes == [
        "measured best before the first step of 6: those weights are kept"
    ]


def test_guard_stops_on_nan(tmp_path):
    trainer = make_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.embed_tokens.weight[5] = float("nan")
    with pytest.raises(CheckFailed, match="nan at step 1"):
        trainer.train()


def test_guard_stops_when_no_weight_changes(tmp_path):
    with pytest.raises(CheckFailed, match="no weight changed"):
        make_trainer(tmp_path, learning_rate=0.0).train()


class ZeroLoss(CausalLM):
    def loss(self, model, batch):
        result = super().loss(model, batch)
        return LossSum(result.loss * 0.0, result.weight)


class Spiking(CausalLM):
    """Pretends that the loss jumps after a while."""

    calls = 0

    def loss(self, model, batch):
        self.calls += 1
        result = super().loss(model, batch)
        return LossSum(result.loss * (50.0 if self.calls > 140 else 1.0), result.weight)


def test_guard_stops_on_a_loss_of_zero(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.objective = ZeroLoss()
    with pytest.raises(CheckFailed, match="exactly 0 at step 1"):
        trainer.train()


def test_guard_stops_on_a_spike(tmp_path):
    trainer = make_trainer(tmp_path, steps=200, every=100, learning_rate=1e-4)
    trainer.objective = Spiking()
    with pytest.raises(CheckFailed, match="times its recent median"):
        trainer.train()


# --- reinforcement learning in the same loop -----------------------------------------------------


class Rollouts:
    """Data that holds the live model: each batch is sampled from it as it is now."""

    def __init__(self, model, rows=32, length=6):
        self.model, self.rows, self.length, self.served = model, rows, length, 0

    def __iter__(self):
        while True:
            generator = torch.Generator().manual_seed(1000 + self.served)
            ids = torch.full((self.rows, 1), 1)
            with torch.no_grad():
                for _ in range(self.length):
                    p = self.model(ids).logits[:, -1].softmax(-1)
                    ids = torch.cat((ids, torch.multinomial(p, 1, generator=generator)), 1)
            self.served += 1
            yield Samples(ids, (ids[:, 1:] == 7).float().sum(1))

    def state_dict(self):
        return {"served": self.served}

    def load_state_dict(self, state):
        self.served = state["served"]


class Samples:
    def __init__(self, ids, reward):
        self.ids, self.reward = ids, reward

    def __len__(self):
        return len(self.ids)

    def slice(self, start, stop):
        return Samples(self.ids[start:stop], self.reward[start:stop])

    def token_count(self):
        return self.ids.numel()


class Reinforce(Objective):
    """REINFORCE with a learned baseline: an objective with a module of its own."""

    def __init__(self):
        self.value = nn.Linear(32, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def module(self):
        return self.value

    def loss(self, model, batch):
        hidden = model.hidden_states(batch.ids[:, :-1])
        log_p = model.project(hidden).log_softmax(-1).gather(2, batch.ids[:, 1:, None]).sum((1, 2))
        baseline = self.value(hidden[:, 0].detach()).squeeze(1)
        advantage = batch.reward - baseline
        loss = -(advantage.detach() * log_p) + advantage.square()
        return LossSum(loss.sum(), float(len(batch)), {"reward": batch.reward.sum()})


def reinforce_trainer(folder, *, steps=40, kill_at=0):
    torch.manual_seed(0)
    model, objective = tiny_decoder(seed=5), Reinforce()
    optimizers = build(
        model,
        objective.module(),
        name="adamw",
        learning_rate=1e-2,
        matrix_learning_rate=0,
        weight_decay=0,
    )
    return Trainer(
        model,
        objective,
        Rollouts(model),
        optimizers,
        TrainingPlan(steps=steps, micro_rows=16, threads=1),
        callbacks=[
            Log(StepRun.standalone(folder), 1.0, 1.0),
            SaveCheckpoints(7),
            KillAt(kill_at),
        ],
        folder=folder / "checkpoints",
        note=lambda text: None,
    )


def test_the_loop_hosts_reinforcement_learning(tmp_path):
    import json

    trainer = reinforce_trainer(tmp_path / "whole")
    trainer.train()
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    rewards = [json.loads(line)["reward"] for line in lines]
    assert sum(rewards[:5]) / 5 < 0.5
    assert sum(rewards[-5:]) / 5 > 3.0
    assert trainer.objective.value.bias.item() > 0.1  # its own module was trained too


def test_reinforcement_learning_resumes_to_the_bit(tmp_path):
    whole = reinforce_trainer(tmp_path / "whole", steps=20)
    whole.train()
    with pytest.raises(Killed):
        reinforce_trainer(tmp_path / "cut", steps=20, kill_at=16).train()
    resumed = reinforce_trainer(tmp_path / "cut", steps=20)
    resumed.train()
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(resumed.objective.value.weight, whole.objective.value.weight)


def test_the_plan_survives_json():
    plan = TrainingPlan(steps=3, micro_rows=2, reasons=("because",))
    import json

    assert TrainingPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert copy.copy(plan) == plan

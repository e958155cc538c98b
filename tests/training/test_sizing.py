"""A slower machine trains a smaller model; what was chosen is kept."""

from time import perf_counter

import pytest
from pydantic import ValidationError

from lmwright.core.duration import Duration
from lmwright.pipeline.run import StepRun
from lmwright.training import sizing
from lmwright.training.commands import PretrainConfig, SFTConfig
from lmwright.training.objectives.causal_lm import CausalLM
from tests.training.cases import random_batch, tiny_decoder

SECONDS = {256: 1.0, 192: 0.5, 128: 0.25}  # a step of each width takes on the pretended machine
SMALLER = [
    {"hidden_size": 192, "num_attention_heads": 3, "num_key_value_heads": 1},
    {"hidden_size": 128},
]


@pytest.fixture
def timed(monkeypatch):
    """The widths that were timed, in order."""
    asked = []

    def pretend(model, objective, batch, precision):
        asked.append(model)
        return SECONDS[model.width]

    monkeypatch.setattr(sizing, "seconds_per_step", pretend)
    return asked


class Width:
    def __init__(self, width):
        self.width = width

    def parameters(self):
        return []


def chosen(folder, budget, least_steps=100, smaller=tuple(SMALLER)):
    config = PretrainConfig(least_steps=least_steps, smaller=smaller)
    return sizing.affordable(
        config,
        StepRun.standalone(folder),
        Duration.parse(budget) if budget else None,
        random_batch(),
        lambda shape: (Width(shape.hidden_size), CausalLM()),
        started=perf_counter(),
    )


# With a margin of a tenth, 100 steps of a second want 110 s.
@pytest.mark.parametrize(
    ("budget", "width"), [("115s", 256), ("105s", 192), ("50s", 128), ("1s", 128)]
)
def test_the_largest_model_that_makes_its_steps(tmp_path, timed, budget, width):
    config = chosen(tmp_path / "step", budget)
    assert config.hidden_size == width
    assert config.num_attention_heads == (3 if width == 192 else 4)  # the rest stays


@pytest.mark.parametrize("budget", ["30 steps", "9 tokens", None])
def test_a_length_that_is_no_time_keeps_the_shape(tmp_path, timed, budget):
    assert chosen(tmp_path / "step", budget).hidden_size == 256
    assert not timed


def test_a_smaller_shape_that_is_larger_is_passed_over(tmp_path, timed):
    """Somebody asked for a tiny model: the recipe's smaller shapes do not make it grow."""
    config = PretrainConfig(hidden_size=64, least_steps=100, smaller=tuple(SMALLER))
    found = sizing.affordable(
        config,
        StepRun.standalone(tmp_path / "step"),
        Duration.parse("1s"),
        random_batch(),
        lambda shape: (Width(shape.hidden_size), CausalLM()),
        started=perf_counter(),
    )
    assert found == config


def test_a_resumed_step_trains_the_same_model(tmp_path, timed):
    first = chosen(tmp_path / "step", "105s")
    timed.clear()
    assert chosen(tmp_path / "step", "1s") == first
    assert not timed


def test_timing_changes_nothing():
    model, batch = tiny_decoder(), random_batch(rows=8)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert sizing.seconds_per_step(model, CausalLM(), batch) > 0
    for name, weight in model.named_parameters():
        assert weight.equal(before[name])
        assert weight.grad is None


def test_the_precision_that_is_asked_for_is_the_one_that_is_timed(monkeypatch):
    timed = []
    original = sizing.Tries.time

    def noted(self, precision, **more):
        timed.append(precision)
        return original(self, precision, **more)

    monkeypatch.setattr(sizing.Tries, "time", noted)
    sizing.seconds_per_step(tiny_decoder(), CausalLM(), random_batch(), "bfloat16")
    assert timed == ["bfloat16"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smaller": [{"hidden_size": 64}]}, "go together"),
        ({"least_steps": 9}, "go together"),
        ({"least_steps": 9, "smaller": [{"depth": 2}]}, "depth is not one of hidden_size"),
        ({"least_steps": 9, "smaller": [{"num_key_value_heads": 3}]}, "smaller: .*heads"),
    ],
)
@pytest.mark.parametrize("config", [PretrainConfig, SFTConfig])
def test_an_impossible_smaller_shape_is_refused_at_once(config, fields, message):
    with pytest.raises(ValidationError, match=message):
        config(**fields)

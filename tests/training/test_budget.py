"""From a budget to a plan: what is chosen, why, and that nothing is changed by choosing."""

from time import perf_counter

import pytest
import torch

from lmwright.core import device
from lmwright.core.duration import Duration
from lmwright.core.errors import LmwrightError
from lmwright.training.budget import Wishes, choose_plan
from lmwright.training.objectives.causal_lm import CausalLM
from lmwright.training.optimizers import build
from tests.training.cases import random_batch, tiny_decoder


def plan(model=None, *, memory=lambda rows, precision: 1000, **wishes):
    def optimizer_step(module, dtype):
        return build(
            module,
            None,
            name="muon",
            learning_rate=1e-3,
            matrix_learning_rate=1e-3,
            weight_decay=0.0,
            matrix_dtype=dtype,
        ).step

    return choose_plan(
        Wishes(**wishes),
        model or tiny_decoder(),
        CausalLM(),
        random_batch(rows=8),
        started=perf_counter(),
        memory_needed=memory,
        optimizer_step=optimizer_step,
    )


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    monkeypatch.setattr(device, "compiler_works", lambda: "no C++ compiler: nowhere does not run")
    monkeypatch.setattr(
        device, "matmul_peak", lambda dtype, **_: {"float32": 2e9, "bfloat16": 3e9}[dtype]
    )


@pytest.mark.parametrize(
    ("budget", "steps"), [("17 steps", 17), ("1000 tokens", None), ("1 token", 1)]
)
def test_steps_and_tokens_are_kept_to(budget, steps):
    wanted = Duration.parse(budget)
    found = plan(budget=wanted)
    tokens = random_batch(rows=8).token_count()
    assert found.steps == (steps or -(-1000 // tokens))


def test_time_becomes_steps_with_a_margin():
    short, long = (plan(budget=Duration.parse(b)) for b in ("2s", "20s"))
    assert long.steps > 4 * short.steps
    assert short.steps * short.seconds_per_step < 2.0


def test_planning_changes_nothing():
    model = tiny_decoder()
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    plan(model, budget=Duration.parse("3 steps"))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_reason_for_training_eager_is_told():
    found = plan(budget=Duration.parse("10m"))
    assert not found.compile
    assert any("runs eager: no C++ compiler" in reason for reason in found.reasons)


def test_asking_for_a_compiler_that_is_not_there_is_an_error():
    with pytest.raises(LmwrightError, match="compile=on, but no C"):
        plan(budget=Duration.parse("3 steps"), compile="on")


def test_the_largest_micro_batch_that_fits_is_found(monkeypatch):
    monkeypatch.setattr(device, "available_memory_bytes", lambda: 10_000)
    found = plan(budget=Duration.parse("3 steps"), memory=lambda rows, precision: rows * 2_000)
    assert found.micro_rows == 2  # 3 would fit too, but parts are halves of the batch
    assert any("2 rows x 4 = the effective batch of 8 rows" in reason for reason in found.reasons)


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic(monkeypatch):
    monkeypatch.setattr(device, "available_memory_bytes", lambda: 10**9)
    with pytest.raises(LmwrightError, match=r"needs 5\.00 GB to train, and 0\.70 GB"):
        plan(budget=Duration.parse("3 steps"), memory=lambda rows, precision: 5 * 10**9)


def test_a_wished_precision_is_not_argued_with():
    found = plan(budget=Duration.parse("3 steps"), precision="bfloat16", matrix_precision="float32")
    assert (found.precision, found.matrix_precision) == ("bfloat16", "float32")
    assert found.peaks == {"float32": 2e9, "bfloat16": 3e9}
    assert found.peak_flops == 3e9


def test_data_that_wears_out_bounds_the_steps():
    found = plan(budget=Duration.parse("100 steps"), most_steps=9)
    assert found.steps == 9
    assert any("9 steps" in reason for reason in found.reasons)


@pytest.mark.parametrize(("bfloat16", "timed"), [(0.7e9, False), (0.9e9, True)])
def test_bf16_is_timed_where_its_products_may_win(monkeypatch, bfloat16, timed):
    speeds = {"float32": 1e9, "bfloat16": bfloat16}
    monkeypatch.setattr(device, "matmul_peak", lambda dtype, **_: speeds[dtype])
    found = plan(budget=Duration.parse("3 steps"))
    assert any("bfloat16" in reason for reason in found.reasons) == timed
    assert found.peaks == speeds
    if not timed:
        assert (found.precision, found.matrix_precision) == ("float32", "float32")


def test_bf16_that_is_asked_for_is_used_even_so(monkeypatch):
    monkeypatch.setattr(device, "matmul_peak", lambda dtype, **_: {"float32": 9e9}.get(dtype, 1e9))
    assert plan(budget=Duration.parse("3 steps"), precision="bfloat16").precision == "bfloat16"

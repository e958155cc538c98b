"""Counting inside compiled code: each execution counts, tracing does not, nothing is recompiled."""

import asyncio

import pytest
import torch
from torch import nn

from lmwright.core.part_calls import Calls, counted_class, counted_function


def double(x, *, factor=2.0):
    """Twice."""
    return x * factor


def same(x, factor=2.0):
    return (x + x) * (factor / 2)


class Twice(nn.Module):
    """Calls its part two times in one forward pass."""

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.part(self.part(self.linear(x)), factor=3.0).relu()


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_every_execution_of_a_compiled_training(backend):
    torch.manual_seed(0)
    calls = Calls()
    model = Twice(counted_function(same, calls, double))
    plain = Twice(double)
    plain.load_state_dict(model.state_dict())
    model.compile(dynamic=False, fullgraph=True, backend=backend)
    for step in range(1, 6):
        x = torch.randn(3, 4)
        loss, expected = model(x).sum(), plain(x).sum()
        loss.backward()
        expected.backward()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(model.linear.weight.grad, plain.linear.weight.grad)
        assert calls.total() == 2 * step
    assert calls.eager == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_counts_every_execution_without_gradients(backend, context):
    torch.manual_seed(0)
    calls = Calls()
    model = Twice(counted_function(same, calls, double))
    model.compile(dynamic=False, fullgraph=True, backend=backend)
    with context():
        for step in range(1, 6):
            model(torch.randn(3, 4))
            assert calls.total() == 2 * step
    assert calls.eager == 0


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_counts_eager_calls_beside_compiled_ones(context):
    calls = Calls()
    model = Twice(counted_function(same, calls, double))
    model.compile(dynamic=False, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 4)
    with context():
        model(x)
        with torch.compiler.set_stance("force_eager"):
            model(x)
        model(x)
    assert (calls.eager, calls.total()) == (2, 6)


def test_counts_the_recomputation_of_a_checkpointed_block():
    from torch.utils.checkpoint import checkpoint

    calls = Calls()
    model = Twice(counted_function(same, calls, double))
    out = checkpoint(model, torch.randn(3, 4, requires_grad=True), use_reentrant=False)
    out.sum().backward()
    assert calls.total() == 4


def test_code_that_breaks_the_graph_is_counted_where_the_graph_may_break():
    calls = Calls()

    def talkative(x, factor=2.0):
        if x.sum() > 1e9:
            return x
        return x * factor

    model = Twice(counted_function(talkative, calls, double))
    model.compile(dynamic=False, fullgraph=False, backend="aot_eager")
    # The part is then compiled for itself, once for each way in which it is called.
    with torch._dynamo.config.patch(error_on_recompile=False):
        for _ in range(4):
            model(torch.randn(3, 4)).sum().backward()
    assert calls.total() == 8


def test_a_counted_module_class_counts_in_compiled_code_and_eager():
    calls = Calls()

    class Norm(nn.Module):
        def forward(self, x):
            return x / x.norm()

    counted = counted_class(Norm, calls, Norm)
    model = nn.Sequential(nn.Linear(4, 4), counted())
    model(torch.randn(3, 4))
    model.compile(dynamic=False, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        model(torch.randn(3, 4)).sum().backward()
    model.eval().parameters()
    assert (calls.eager, calls.total()) == (1, 4)


def test_a_counter_made_in_somebodys_context_counts_outside_of_it():
    with torch.inference_mode(), torch.device("meta"):
        calls = Calls()
    model = Twice(counted_function(same, calls, double))
    model.compile(dynamic=False, fullgraph=True, backend="aot_eager")
    model(torch.randn(3, 4)).sum().backward()
    assert calls.total() == 2


def test_coroutines_stay_coroutines_and_class_methods_stay_bound():
    import inspect

    calls = Calls()

    async def waits(x):
        return x + 1

    counted = counted_function(waits, calls, waits)
    assert inspect.iscoroutinefunction(counted)
    assert asyncio.run(counted(1)) == 2

    class Made:
        @classmethod
        def make(cls):
            return cls()

        @staticmethod
        def add(x):
            return x + 1

    kind = counted_class(Made, calls, Made)
    assert type(kind.make()) is kind
    assert kind.add(1) == 2
    assert calls.total() == 3

"""Eight damages: each does what its name says to whatever a part returns, once."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from lmwright.roadmap.universal import UNIVERSAL, Damage

X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("zeros", [[0, 0], [0, 0]]),
        ("half", [[0.5, 1], [1.5, 2]]),
        ("sign-flip", [[-1, -2], [-3, -4]]),
        ("transposed", [[1, 3], [2, 4]]),
        ("constant", [[2.5, 2.5], [2.5, 2.5]]),
        ("detached", [[1, 2], [3, 4]]),
    ],
)
def test_numbers(kind, expected):
    damage = Damage(kind)
    assert damage.of(X).tolist() == expected
    assert damage.changed == (kind != "detached")


def test_what_is_not_a_number():
    assert bool(Damage("NaN").of(X).isnan().all())


def test_noise_is_a_thousandth_of_the_size():
    x = 1e4 * torch.randn(4_000, generator=torch.Generator().manual_seed(0))
    noise = Damage("noise").of(x) - x
    share = noise.square().mean().sqrt() / x.square().mean().sqrt()
    assert share == pytest.approx(1e-3, rel=0.1)


def test_a_gradient_survives_all_but_what_cuts_it():
    for kind in UNIVERSAL:
        x = torch.randn(3, 3, requires_grad=True)
        kept = Damage(kind).of(x * 2).requires_grad
        assert kept == (kind not in ("zeros", "detached", "NaN"))


@dataclass(frozen=True)
class Answer:
    ids: list[int]
    found: bool
    text: str


@pytest.mark.parametrize("kind", UNIVERSAL)
@pytest.mark.parametrize(
    "value",
    [
        torch.arange(1, 5).view(2, 2),
        torch.tensor([True, False, False]),
        np.array([1, 2, 3], np.uint16),
        [3, 1, 2],
        ("a b", 2.5),
        {"x": [1.0, 2.0]},
        Answer([1, 2], True, "Yes"),
        7,
        "text",
        None,
    ],
    ids=repr,
)
def test_damage_is_told(kind, value):
    damage = Damage(kind)
    damaged = damage.of(value)
    assert type(damaged) is type(value)
    if not isinstance(value, torch.Tensor | np.ndarray):
        assert damage.changed == (damaged != value)
    elif isinstance(value, np.ndarray):
        assert damage.changed == bool((damaged != value).any())
        assert damaged.dtype == value.dtype
    else:
        assert damage.changed == (damaged.tolist() != value.tolist())


def test_most_kinds_damage_most_values():
    for value in ([3, 1, 2], "text", Answer([1, 2], True, "Yes"), torch.arange(1, 5)):
        changed = []
        for kind in UNIVERSAL:
            damage = Damage(kind)
            damage.of(value)
            changed.append(damage.changed)
        assert sum(changed) >= 5


def test_a_function_is_damaged_in_its_answer_and_in_what_it_writes():
    def step(parameter: torch.Tensor, by: float) -> torch.Tensor:
        return parameter.add_(by)

    parameter = torch.zeros(2)
    answer = Damage("sign-flip").subject(step)(parameter, 3.0)
    assert answer.tolist() == [-3, -3]
    assert parameter.tolist() == [-3, -3]


def test_a_method_that_calls_another_is_damaged_once():
    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

        def add_twice(self, n: int) -> int:
            self.add(n)
            return self.add(n)

        def __call__(self, n: int) -> int:
            return n

        @property
        def size(self) -> int:
            return self.total

        def each(self):
            yield self.add(1)
            yield self.add(1)

    counter = Damage("sign-flip").subject(Counter)()
    assert counter.add_twice(3) == -6
    assert counter.size == -6
    assert counter(5) == -5
    assert list(counter.each()) == [-7, -8]
    assert counter.total == 8


def test_what_is_streamed_or_awaited_is_damaged_and_closed():
    closed = []

    async def stream(n: int):
        try:
            for number in range(1, n):
                yield number
        finally:
            closed.append(n)

    async def answer(n: int) -> int:
        return n

    async def all_and_one() -> tuple:
        damage = Damage("sign-flip")
        heard = [item async for item in damage.subject(stream)(4)]
        left = damage.subject(stream)(9)
        first = await anext(left)
        await left.aclose()
        return heard, first, await damage.subject(answer)(7)

    assert asyncio.run(all_and_one()) == ([-1, -2, -3], -1, -7)
    assert closed == [4, 9]


def test_a_module_is_damaged_in_its_forward_and_nothing_of_torch_is():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x

    module = Damage("half").subject(Twice)()
    assert module(torch.ones(2)).tolist() == [1, 1]
    assert [p.item() for p in module.parameters()] == [2]

"""A token's logits are the same bits whatever else is in the batch, and however many threads."""

import pytest
import torch

from lmwright.engine.native import build as native_build
from tests.engine.native.cases import batch, build, open_native, prompts

SETS = native_build.usable_sets()
WEIGHTS = ["fp32", "bf16", "int8", "int4"]


@pytest.fixture(params=SETS)
def instruction_set(request):
    return request.param


@pytest.mark.parametrize("weights", WEIGHTS)
def test_whatever_the_number_of_rows(weights, instruction_set):
    model = build("wide", intermediate_size=160)
    options = {"weights": weights, "instruction_set": instruction_set}
    histories = prompts([9 + 3 * i for i in range(8)])
    last = prompts([1] * 8, seed=1)

    def logits(count, runner):
        for slot, history in enumerate(histories):
            runner.forward(batch([(0, history)], slots=[slot], rows=[]))
        pieces = [(len(h), t) for h, t in zip(histories, last, strict=True)][:count]
        return runner.forward(batch(pieces))

    alone = logits(1, open_native(model, **options))
    for count in range(2, 9):
        assert torch.equal(logits(count, open_native(model, **options))[0], alone[0]), count
    whole = open_native(model, **options).forward(batch([(0, histories[0] + last[0])]))
    assert torch.equal(whole[-1], alone[0])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_whatever_the_length_of_the_chunk(weights, instruction_set):
    model, (ids,) = build("gemma2"), prompts([26])
    options = {"weights": weights, "instruction_set": instruction_set}
    whole = open_native(model, **options).forward(batch([(0, ids)]))

    for size in range(1, 14):
        runner = open_native(model, **options)
        chunks = [(at, ids[at : at + size]) for at in range(0, len(ids), size)]
        logits = torch.cat([runner.forward(batch([chunk])) for chunk in chunks])
        assert torch.equal(logits, whole), size


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "wide"])
def test_whatever_the_number_of_threads(family, weights, instruction_set):
    model, sequences = build(family), prompts([37, 1, 20, 2])
    options = {"weights": weights, "instruction_set": instruction_set}
    pieces = [(0, ids) for ids in sequences]

    one, two, three = (
        open_native(model, threads=threads, **options).forward(batch(pieces))
        for threads in (1, 2, 3)
    )

    assert torch.equal(one, two)
    assert torch.equal(one, three)

"""The native kernels give the logits of the PyTorch model, for every kind of decoder."""

import pytest
import torch

from lmwright.engine.native import build as native_build
from lmwright.engine.native.twin import quantized_twin
from tests.engine.native.cases import FAMILIES, batch, build, open_native, prompts, relative

SETS = native_build.usable_sets()


def reference_logits(model, sequences):
    with torch.no_grad():
        return torch.cat([model(torch.tensor(ids)[None]).logits[0] for ids in sequences])


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_covered_family_gives_the_models_logits(family, instruction_set):
    model, sequences = build(family), prompts([37, 1, 20])
    runner = open_native(model, instruction_set=instruction_set)

    logits = runner.forward(batch([(0, ids) for ids in sequences]))

    assert relative(logits, reference_logits(model, sequences)) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_in_pieces_gives_the_logits_of_the_whole(family):
    model, (first, second) = build(family), prompts([40, 23])
    runner = open_native(model)
    pieces = [(0, first[:30]), (30, first[30:39]), (39, first[39:])]
    others = [(0, second[:5]), (5, second[5:6]), (6, second[6:])]

    logits = [runner.forward(batch(list(both))) for both in zip(pieces, others, strict=True)]

    expected = reference_logits(model, [first, second])
    rows = [
        [*range(n, n + len(ids)), *range(40 + m, 40 + m + len(more))]
        for (n, ids), (m, more) in zip(pieces, others, strict=True)
    ]
    for ours, wanted in zip(logits, rows, strict=True):
        assert relative(ours, expected[wanted]) <= 1e-5


@pytest.mark.parametrize("instruction_set", SETS)
def test_weights_in_bf16_are_multiplied_exactly(instruction_set):
    model, sequences = build("gpt_neox"), prompts([37, 20])
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    runner = open_native(model, weights="bf16", kv="fp32", instruction_set=instruction_set)

    logits = runner.forward(batch([(0, ids) for ids in sequences]))

    assert relative(logits, reference_logits(model, sequences)) <= 1e-5


def test_a_bf16_model_stays_in_bf16_and_is_computed_in_fp32():
    model, sequences = build().bfloat16(), prompts([37, 20])
    runner = open_native(model, kv="fp32")

    logits = runner.forward(batch([(0, ids) for ids in sequences]))

    assert "bf16" in runner.describe()
    assert relative(logits, reference_logits(model.float(), sequences)) <= 1e-5


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "wide"])
def test_quantised_weights_give_the_twins_logits(family, bits, instruction_set):
    model, sequences = build(family), prompts([37, 20])
    runner = open_native(model, weights=f"int{bits}", kv="fp32", instruction_set=instruction_set)

    logits = runner.forward(batch([(0, ids) for ids in sequences]))

    # Where fp32 sums differ in the last place, an activation may be rounded to the next integer.
    expected = reference_logits(quantized_twin(model, bits), sequences)
    assert relative(logits, expected) <= 0.15
    assert (logits - expected).square().mean().sqrt() <= 0.01 * expected.square().mean().sqrt()


def test_only_the_wanted_rows_are_scored():
    model, sequences = build("gpt_neox"), prompts([37, 20])
    runner = open_native(model)
    pieces = [(0, ids) for ids in sequences]
    everything = runner.forward(batch(pieces))

    assert torch.equal(runner.forward(batch(pieces, rows=[56, 3])), everything[[56, 3]])
    assert runner.forward(batch(pieces, rows=[])).shape == (0, everything.shape[1])
    later = runner.forward(batch([(37, [5]), (20, [6])]))
    whole = reference_logits(model, [[*sequences[0], 5], [*sequences[1], 6]])
    assert relative(later, whole[[37, 58]]) <= 1e-5

"""What the native runner accepts, keeps and says."""

import copy

import pytest
import torch
from torch import nn

from lmwright.compression.linear import QuantizedLinear
from lmwright.core import parts
from lmwright.core.parts import Part
from lmwright.engine import native
from lmwright.engine.native import coverage
from lmwright.models.config import TransformerConfig
from tests.engine.native.cases import LLAMA, batch, build, open_native, prompts, relative


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "encoder"}, "no plain decoder"),
        ({"positions": "relative"}, "relative position bias"),
        ({"head_dim": 12}, "multiple of 8"),
        (
            {"experts": {"num_experts": 2, "num_experts_per_tok": 1, "intermediate_size": 8,
                         "layers": (0,)}},
            "mixture of experts",
        ),
        ({"rope_scaling": {"kind": "dynamic", "factor": 2.0}}, "dynamic rotary scaling"),
        ({"token_type_vocab_size": 2}, "token types"),
        ({}, None),
    ],
)  # fmt: skip
def test_what_is_not_covered_is_named(changes, reason):
    found = coverage.covers(TransformerConfig.model_validate(LLAMA | changes))

    assert (reason is None and found is None) or reason in found


@pytest.mark.parametrize(
    ("target", "covered"),
    [
        ("lmwright.models.layers.attention:attend", False),
        ("lmwright.compression.rounding:quantize_int8", False),
        ("lmwright.engine.paged_cache:PagedCache", False),
        ("lmwright.engine.sampling:sampling_distribution", True),
    ],
)
def test_a_readers_own_part_of_the_model_is_not_gone_round(monkeypatch, target, covered):
    part = Part("mine", target, "/nowhere/mine/part.py", "", checked=True, module="mine.part")
    monkeypatch.setattr(parts, "_use", parts._Use(parts=(part,)))

    reason = coverage.covers_model(build())

    assert (reason is None) == covered
    assert covered or reason == "they would go round mine, which --use names"


def test_a_strange_layer_is_not_covered():
    class Adapted(nn.Linear):
        pass

    model = build()
    model.layers[1].self_attn.o_proj = Adapted(64, 64)

    with pytest.raises(native.NotCovered, match=r"layers\.1\.o_proj is a Adapted"):
        native.open_runner(model, num_blocks=4, block_size=16)


def test_rows_that_do_not_divide_into_groups_are_not_covered_by_integers():
    with pytest.raises(native.NotCovered, match="no whole groups of 32"):
        native.open_runner(build("odd_widths"), num_blocks=4, block_size=16, weights="int8")


@pytest.mark.parametrize(("bits", "group", "name"), [
    (8, None, "int8 by row"), (8, 32, "int8 in groups of 32,"), (4, 32, "int4 in groups of 32,"),
    (4, None, "int4 in groups of 32,"), (8, 64, "int8 in groups of 32,"),
    (8, 128, "int8 in groups of 32 and 128,"),
])  # fmt: skip
def test_a_quantised_model_keeps_its_integers(bits, group, name):
    model, (ids,) = build("wide"), prompts([30])
    for block in model.layers:
        for parent in (block.self_attn, block.mlp):
            for child, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    quantized = QuantizedLinear.from_linear(layer, bits=bits, group_size=group)
                    setattr(parent, child, quantized)
    runner = open_native(model, kv="fp32")

    logits = runner.forward(batch([(0, ids)]))

    plain = copy.deepcopy(model)
    for block in plain.layers:
        for parent in (block.self_attn, block.mlp):
            for child, layer in list(parent.named_children()):
                if isinstance(layer, QuantizedLinear):
                    linear = nn.Linear(layer.in_features, layer.out_features, bias=False)
                    linear.weight.data = layer.expanded()
                    setattr(parent, child, linear)
    with torch.no_grad():
        expected = plain(torch.tensor(ids)[None]).logits[0]
    assert name in runner.describe()
    # Activations and the output projection are rounded to 8 bits; weights are the same.
    assert (logits - expected).square().mean() <= 0.04**2 * expected.square().mean()


def test_eight_bits_are_close_to_the_model_and_four_are_not_far():
    model, (ids,) = build(hidden_size=256, intermediate_size=512, head_dim=64), prompts([60])
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(0.5)
        expected = model(torch.tensor(ids)[None]).logits[0]

    def error(weights):
        logits = open_native(model, weights=weights).forward(batch([(0, ids)]))
        return float((logits - expected).square().mean().sqrt() / expected.square().mean().sqrt())

    assert error("bf16") <= 0.01
    assert error("int8") <= 0.06  # three blocks of random weights add their errors up
    assert 0.06 <= error("int4") <= 0.4


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_keys_and_values_may_take_fewer_bytes(kv):
    model, sequences = build("qwen2"), prompts([50, 33])
    exact = open_native(model).forward(batch([(0, ids) for ids in sequences]))

    rounded = open_native(model, kv=kv).forward(batch([(0, ids) for ids in sequences]))

    assert 1e-6 < relative(rounded, exact) < 0.2


def test_blocks_of_32_hold_the_same():
    model, sequences = build(), prompts([50, 33])
    first = open_native(model).forward(batch([(0, ids) for ids in sequences]))

    second = open_native(model, block_size=32).forward(batch([(0, ids) for ids in sequences]))

    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_an_empty_pass_gives_no_logits():
    assert open_native(build()).forward(batch([])).shape == (0, 333)


def test_the_default_keys_follow_the_weights():
    assert open_native(build()).kv == "fp32"
    assert open_native(build(), weights="int8").kv == "bf16"
    assert "int8 in groups of 32" in open_native(build(), weights="int8").describe()

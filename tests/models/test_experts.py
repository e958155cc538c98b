"""Mixture of experts against the reference's blocks, the definition, and cases worked by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lmwright.models.config import TransformerConfig
from lmwright.models.layers import grouped
from lmwright.models.layers.experts import auxiliary_losses
from lmwright.models.layers.routing import (
    demand,
    load_balance_loss,
    route,
)
from lmwright.models.transformer import Decoder
from tests.models.cases import relative
from tests.models.expert_layers import layer, planned, stream

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "tanh")


def gradients(output, tensors, seed=5):
    """Of a random projection of `output`."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    total = (output * direction.to(output.dtype)).sum()
    return torch.autograd.grad(total, tensors, retain_graph=True)


# --- the two executions -------------------------------------------------------------------------


@st.composite
def cases(draw):
    number = draw(st.integers(2, 6))
    return {
        "seed": draw(st.integers(0, 1000)),
        "num_experts": number,
        "num_experts_per_tok": draw(st.integers(1, number)),
        "intermediate_size": draw(st.sampled_from([1, 4, 9])),
        "normalize_weights": draw(st.booleans()),
        "capacity_factor": draw(st.sampled_from([None, 0.4, 1.0, 1.25])),
        "gated": draw(st.booleans()),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
    }, {
        "rows": draw(st.integers(1, 3)),
        "length": draw(st.integers(1, 9)),
        "masked": draw(st.booleans()),
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases())
def test_grouped_execution_is_the_dense_one(case):
    values, batch = case
    experts = layer(dtype=torch.float64, **values)
    x = stream(batch["rows"], batch["length"], dtype=torch.float64).requires_grad_()
    mask = None
    if batch["masked"]:
        mask = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(0)) < 0.7
    tokens, routing, plan = planned(experts, x, mask)

    found, expected = (
        execute(tokens, routing, plan) for execute in (experts.grouped, experts.dense)
    )

    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    wanted = [x, *experts.parameters()]
    for ours, theirs in zip(gradients(found, wanted), gradients(expected, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("factor", [None, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_rows_of_an_expert_are_rounded_up_unseen(factor, dtype):
    experts = layer(
        7, dtype, hidden=24, num_experts=4, intermediate_size=32, capacity_factor=factor
    )
    x = stream(3, 41, 24, dtype=dtype).requires_grad_()
    tokens, routing, plan = planned(experts, x)
    loads = plan.ends.diff(prepend=torch.tensor([0]))
    assert loads.max() > 16
    assert (loads % 16).any()

    found, expected = experts.grouped(tokens, routing, plan), experts.dense(tokens, routing, plan)
    with torch.no_grad():
        untrained = experts.grouped(tokens, routing, plan)

    assert torch.equal(untrained, found)
    assert relative(found, expected) <= 1e-5
    wanted = [x, *experts.parameters()]
    for ours, theirs in zip(gradients(found, wanted), gradients(expected, wanted), strict=True):
        assert relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("gated", [True, False])
def test_the_library_kernel_gives_the_same(gated):
    """What runs on a GPU in bfloat16, here in float32 through the library's own loop."""
    experts = layer(3, gated=gated, hidden=8, intermediate_size=16)
    _, inward, down = experts._operands(torch.zeros(1, 8))
    x = stream(1, 20, 8)[0].requires_grad_()
    ends = torch.tensor([4, 4, 9, 15, 17])  # the second expert has none, three rows have nobody

    found = grouped.by_kernel(x, ends, inward, down, "silu")
    expected = grouped.grouped_feed_forward(x, ends, inward, down, "silu")

    assert relative(found, expected) <= 1e-5
    wanted = [x, *inward, down]
    for ours, theirs in zip(gradients(found, wanted), gradients(expected, wanted), strict=True):
        assert relative(ours, theirs) <= 1e-5


@pytest.mark.parametrize("chosen", [2, 5])  # of 5: grouped, dense
@pytest.mark.parametrize("gated", [True, False])
def test_gradients_of_the_whole_layer(chosen, gated):
    experts = layer(
        2,
        torch.float64,
        "gelu",
        gated,
        hidden=4,
        num_experts_per_tok=chosen,
        intermediate_size=3,
        shared_intermediate_size=3,
        shared_gate=True,
        load_balance_coefficient=0.5,
        z_coefficient=0.5,
    )
    x = stream(2, 3, 4, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in experts.named_parameters()]

    def run(x, *weights):
        state = dict(zip(names, weights, strict=True))
        output = torch.func.functional_call(experts, state, (x,))
        losses = auxiliary_losses(experts)
        return output, losses["load_balance_loss"], losses["router_z_loss"]

    inputs = (x, *(p.detach().clone().requires_grad_() for p in experts.parameters()))
    assert gradcheck(run, inputs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation(activation):
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 3), (3, 4, 3), (3, 4, 3), (3, 3, 4)]
    x, gate, up, down = (
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    )
    ends = torch.tensor([2, 2, 4])

    def gated(x, gate, up, down):
        return grouped.grouped_feed_forward(x, ends, [gate, up], down, activation)

    def plain(x, up, down):
        return grouped.grouped_feed_forward(x, ends, [up], down, activation)

    assert gradcheck(gated, (x, gate, up, down))
    assert gradcheck(plain, (x, up, down))


# --- the reference's blocks ---------------------------------------------------------------------


def reference_block(name, experts):
    """The block of transformers with our layer's weights."""
    values, hidden = experts.settings, experts.router.in_features
    shape = {
        "hidden_size": hidden,
        "num_experts_per_tok": values.num_experts_per_tok,
        "experts_implementation": "eager",
    }
    if name == "mixtral":
        from transformers.models.mixtral import modeling_mixtral as reference

        shape |= {"num_local_experts": values.num_experts}
        config = reference.MixtralConfig(intermediate_size=values.intermediate_size, **shape)
        block = reference.MixtralSparseMoeBlock(config)
    else:
        shape |= {
            "num_experts": values.num_experts,
            "moe_intermediate_size": values.intermediate_size,
            "norm_topk_prob": values.normalize_weights,
        }
        if name == "qwen3":
            from transformers.models.qwen3_moe import modeling_qwen3_moe as reference

            block = reference.Qwen3MoeSparseMoeBlock(reference.Qwen3MoeConfig(**shape))
        else:
            from transformers.models.qwen2_moe import modeling_qwen2_moe as reference

            shape["shared_expert_intermediate_size"] = values.shared_intermediate_size
            block = reference.Qwen2MoeSparseMoeBlock(reference.Qwen2MoeConfig(**shape))
            block.shared_expert_gate.weight.data.copy_(experts.shared_gate.weight)
            for part in ("gate_proj", "up_proj", "down_proj"):
                getattr(block.shared_expert, part).weight.data.copy_(
                    getattr(experts.shared, part).weight
                )
    block.gate.weight.data.copy_(experts.router.weight)
    both = torch.cat((experts.gate_proj, experts.up_proj), dim=1)
    block.experts.gate_up_proj.data.copy_(both)
    block.experts.down_proj.data.copy_(experts.down_proj)
    return block


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["mixtral", "qwen3", "qwen2"])
def test_output_and_gradients_equal_the_reference(name, seed):
    shared = {"shared_intermediate_size": 11, "shared_gate": True} if name == "qwen2" else {}
    normalize = name == "mixtral" or seed % 2 == 1
    chosen = 2 + seed if normalize else 1 + seed
    experts = layer(
        seed, hidden=16, num_experts=6, num_experts_per_tok=chosen, intermediate_size=12,
        normalize_weights=normalize, **shared,
    )  # fmt: skip
    block = reference_block(name, experts)
    x = stream(3, 10, 16, seed=seed).requires_grad_()

    found, expected = experts(x), block(x)

    assert expected.square().mean().sqrt() >= 0.1
    assert relative(found, expected) <= 1e-5
    assert relative(*(gradients(y, [x])[0] for y in (found, expected))) <= 1e-5
    ours = gradients(found, [experts.router.weight, experts.down_proj, experts.up_proj])
    theirs = gradients(
        block(x), [block.gate.weight, block.experts.down_proj, block.experts.gate_up_proj]
    )
    for mine, reference in zip(ours, theirs, strict=True):
        assert relative(mine, reference[..., -mine.shape[-2] :, :]) <= 1e-5


@pytest.mark.parametrize("masked", [False, True])
def test_load_balance_is_the_reference_per_assignment(masked):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    real = torch.rand(24, generator=torch.Generator().manual_seed(1)) < 0.6 if masked else None
    routing = route(logits, 3, normalize=True)

    found = load_balance_loss(routing.probabilities, demand(routing.experts, 6, real), real)

    mask = real.view(4, 6).long() if masked else None
    # It counts per token, three times as many as there are assignments per assignment.
    expected = load_balancing_loss_func((logits,), 6, 3, mask) / 3
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


# --- promises -----------------------------------------------------------------------------------


def test_tokens_do_not_depend_on_their_order():
    experts = layer(1, num_experts=7, num_experts_per_tok=3)
    x = stream(2, 11)
    shuffle = torch.randperm(22, generator=torch.Generator().manual_seed(2))

    found = experts(x.view(1, 22, 6)[:, shuffle])

    assert relative(found, experts(x).view(1, 22, 6)[:, shuffle]) <= 1e-6


@pytest.mark.parametrize("factor", [None, 0.6])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_counts_for_nothing(factor, side):
    experts = layer(6, capacity_factor=factor, shared_intermediate_size=5)
    x = stream(1, 7)
    expected = experts(x)
    wanted = auxiliary_losses(experts)
    real = torch.arange(12) < 7 if side == "right" else torch.arange(12) >= 5
    padded = 50 * stream(1, 12, seed=9)
    padded[:, real] = x

    found = experts(padded, mask=real[None])

    assert relative(found[:, real], expected) <= 1e-6
    for name, value in auxiliary_losses(experts).items():
        assert value.item() == pytest.approx(wanted[name].item(), rel=1e-5), name


def test_a_batch_of_padding_alone_is_harmless():
    experts = layer(capacity_factor=1.0)

    output = experts(stream(1, 4), mask=torch.zeros(1, 4, dtype=torch.bool))

    assert torch.equal(output, torch.zeros(1, 4, 6))
    assert all(torch.isfinite(value) for value in auxiliary_losses(experts).values())


def test_an_expert_that_nobody_wants_gets_no_gradient():
    experts = layer()
    experts.router.weight.data.zero_()
    experts.router.weight.data[:2] = 1.0
    x = stream(1, 6).abs()

    experts(x).sum().backward()

    for weight in (experts.gate_proj, experts.up_proj, experts.down_proj):
        assert weight.grad[:2].abs().amax((1, 2)).min() > 0
        assert torch.equal(weight.grad[2:], torch.zeros_like(weight.grad[2:]))


def test_frozen_experts_pass_the_gradient_on():
    experts, x = layer(), stream(1, 6).requires_grad_()
    expected = gradients(experts(x), [x])[0]
    for weight in (experts.gate_proj, experts.up_proj, experts.down_proj):
        weight.requires_grad_(False)

    assert torch.equal(gradients(experts(x), [x])[0], expected)


def test_every_step_is_repeatable():
    experts = layer(num_experts_per_tok=3, hidden=24, intermediate_size=32)
    x = stream(4, 32, 24).requires_grad_()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(experts(x), [x, *experts.parameters()]) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)

    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_router_keeps_float32_in_half_precision():
    experts, x = layer(5, hidden=16, intermediate_size=16), stream(2, 16, 16)
    expected = experts(x)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = experts(x)
        logits = experts.router_logits(x.reshape(-1, 16))

    assert found.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert relative(found, expected) <= 2e-2 * 4  # four roundings of a value, not one
    half = experts.to(torch.bfloat16)
    assert half(x.bfloat16()).dtype == torch.bfloat16
    assert half.router_logits(x.bfloat16().reshape(-1, 16)).dtype == torch.float32


@pytest.mark.slow
def test_a_compiler_sees_one_graph():
    experts, x = layer(), stream(2, 6).requires_grad_()
    expected = experts(x)
    losses = auxiliary_losses(experts)

    found = torch.compile(experts, backend="aot_eager", fullgraph=True)(x)

    assert relative(found, expected) <= 1e-6
    assert relative(gradients(found, [x])[0], gradients(expected, [x])[0]) <= 1e-6
    for name, value in auxiliary_losses(experts).items():
        assert value.item() == pytest.approx(losses[name].item(), rel=1e-5), name


def test_a_model_tells_its_experts_what_is_padding():
    config = TransformerConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        experts={"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 8, "layers": [1]},
    )
    model = Decoder(config)
    model.initialize(0)
    model.train()
    ids = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    model(ids[:, :6])
    short = auxiliary_losses(model)
    model(ids, attention_mask=(torch.arange(9) < 6).long().expand(2, 9))
    torch.testing.assert_close(auxiliary_losses(model), short)
    documents = (torch.arange(9) < 6).int().expand(2, 9)
    model(ids, document_ids=documents)
    torch.testing.assert_close(auxiliary_losses(model), short)

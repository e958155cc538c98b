"""Layers against formulas written out here, and the model's promises: causality, documents."""

import math

import pytest
import torch
from pydantic import ValidationError

from lmwright.core.errors import LmwrightError
from lmwright.models.config import TransformerConfig
from lmwright.models.layers.attention import AttentionRule, attend
from lmwright.models.layers.norms import RMSNorm
from lmwright.models.layers.positions import rotary_frequencies, rotary_table, rotate
from lmwright.models.transformer import Decoder
from tests.models.cases import fill, random_shape, relative


def looped_attention(q, k, v, allowed, scale, cap=None, bias=None):
    """Attention by the definition, one query at a time, in float64."""
    rows, heads, queries, _ = q.shape
    result = torch.zeros_like(q, dtype=torch.float64)
    for b in range(rows):
        for h in range(heads):
            shared = h // (heads // k.shape[1])
            for t in range(queries):
                keys = [s for s in range(k.shape[2]) if allowed(b, t, s)]
                scores = []
                for s in keys:
                    score = scale * torch.dot(q[b, h, t].double(), k[b, shared, s].double()).item()
                    score = cap * math.tanh(score / cap) if cap else score
                    scores.append(score + (bias[b, h, t, s].item() if bias is not None else 0.0))
                total = sum(math.exp(score - max(scores)) for score in scores)
                for s, score in zip(keys, scores, strict=True):
                    weight = math.exp(score - max(scores)) / total
                    result[b, h, t] += weight * v[b, shared, s].double()
    return result


def heads(seed, queries=5, keys=5, grouped=2):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 4, queries, 8, generator=generator)
    k = torch.randn(2, 4 // grouped, keys, 8, generator=generator)
    v = torch.randn(2, 4 // grouped, keys, 8, generator=generator)
    return q, k, v


@pytest.mark.parametrize("queries", [1, 3, 6])
@pytest.mark.parametrize("grouped", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("masked", ["no", "bool", "float"])
def test_attend_is_its_definition(queries, grouped, window, cap, masked):
    q, k, v = heads(queries, queries, 6, grouped)
    q = q * 3
    seen = torch.rand(2, 6, generator=torch.Generator().manual_seed(5)) > 0.3
    mask = {
        "no": None,
        "bool": seen[:, None, None],
        "float": torch.zeros(2, 1, 1, 6).masked_fill(~seen[:, None, None], -torch.inf),
    }[masked]

    def allowed(b, t, s):
        position = 6 - queries + t
        near = window is None or position - s < window
        return s <= position and near and (mask is None or bool(seen[b, s]))

    found = attend(q, k, v, AttentionRule(mask=mask, window=window, soft_cap=cap))

    assert relative(found, looped_attention(q, k, v, allowed, 8**-0.5, cap)) <= 1e-5


@pytest.mark.parametrize("cap", [None, 3.0])
def test_bias_and_scale(cap):
    q, k, v = heads(0)
    bias = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    rule = AttentionRule(bias=bias, scale=0.3, soft_cap=cap)
    everywhere = AttentionRule(bias=bias, scale=0.3, soft_cap=cap, causal=False)

    causal = looped_attention(q, k, v, lambda b, t, s: s <= t, 0.3, cap, bias)
    full = looped_attention(q, k, v, lambda b, t, s: True, 0.3, cap, bias)

    assert relative(attend(q, k, v, rule), causal) <= 1e-5
    assert relative(attend(q, k, v, everywhere), full) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_query_that_sees_nothing_gets_zero_forward_and_back(dtype, kind):
    q, k, v = (x.to(dtype).requires_grad_() for x in heads(0))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool).tril()
    mask[1, :, 3:] = False
    if kind == "float":
        mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)

    output = attend(q, k, v, AttentionRule(mask=mask, causal=False))
    output.square().sum().backward()

    assert (output[1, :, 3:] == 0).all()
    assert (output[1, :, :3] != 0).any()
    for x in (q, k, v):
        assert x.grad.isfinite().all()
    assert (q.grad[1, :, 3:] == 0).all()


@pytest.mark.parametrize("length", [5, 600])  # written out for training, and the fused kernel
def test_bfloat16_gradients_follow_float64(length):
    leaves = [x.requires_grad_() for x in heads(0, length, length)]
    half = [x.detach().bfloat16().requires_grad_() for x in leaves]
    rule = AttentionRule(mask=torch.zeros(2, 1, length, length).masked_fill(
        torch.ones(length, length).triu(1).bool(), -torch.inf), causal=False)  # fmt: skip
    wide = [x.detach().double().requires_grad_() for x in leaves]

    def loss(parts):
        q, k, v = parts
        return attend(q, k, v, rule).double().square().sum()

    loss(half).backward()
    loss(wide).backward()

    for found, expected in zip(half, wide, strict=True):
        # By norms: the first queries see few keys, and their gradients dwarf the rest's.
        assert (found.grad - expected.grad).norm() <= 2e-2 * expected.grad.norm()


def test_attend_passes_gradcheck():
    q, k, v = (x[:1, :, :4].double().requires_grad_() for x in heads(3))
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    mask[:, :, 2] = False
    for rule in (AttentionRule(mask=mask), AttentionRule(mask=mask, soft_cap=2.0)):
        assert torch.autograd.gradcheck(lambda *x, rule=rule: attend(*x, rule), (q, k, v))


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e4])
def test_rms_norm_is_its_formula(size):
    x = size * torch.randn(7, 33, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm(33, eps=1e-6)
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(1))
        wide = x.double()
        mean = wide.square().mean(-1, keepdim=True)
        expected = norm.weight.double() * wide / (mean + 1e-6).sqrt()
        assert relative(norm(x), expected) <= 1e-5
        assert norm(x.bfloat16()).dtype == torch.bfloat16


def test_rms_norm_of_zeros_is_zero_with_finite_gradients():
    x = torch.zeros(2, 8, requires_grad=True)
    output = RMSNorm(8)(x)
    output.sum().backward()
    assert (output == 0).all()
    assert x.grad.isfinite().all()


def test_rotation_keeps_norms_and_depends_on_distance_only():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)
    frequencies = rotary_frequencies(16, 100.0)

    def score(m, n):
        at = [rotary_table(torch.tensor([[position]]), frequencies) for position in (m, n)]
        return (rotate(q, *at[0]) * rotate(k, *at[1])).sum()

    turned = rotate(q, *rotary_table(torch.tensor([[1234]]), frequencies))
    assert turned.norm().item() == pytest.approx(q.norm().item(), rel=1e-6)
    for shift in range(50):
        assert score(7 + shift, 3 + shift).item() == pytest.approx(score(7, 3).item(), abs=1e-4)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def test_rotation_is_a_complex_product():
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0)).double()
    positions = torch.tensor([[0, 5, 9]])
    cos, sin = rotary_table(positions, rotary_frequencies(8, 50.0))
    angles = positions[0, :, None] * torch.tensor([50.0 ** -(i / 4) for i in range(4)])
    product = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(()), angles)
    expected = torch.cat((product.real, product.imag), -1)
    assert relative(rotate(x, cos, sin), expected) <= 1e-5


def test_odd_head_dim_is_refused():
    with pytest.raises(LmwrightError, match="odd"):
        rotary_frequencies(7)


@pytest.mark.parametrize("seed", range(6))
def test_changing_a_token_moves_nothing_before_it(seed):
    model = fill(Decoder(TransformerConfig(**random_shape(seed))), seed).eval()
    tokens = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(seed))
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 50

    with torch.no_grad():
        before, after = model(tokens).logits, model(changed).logits

    assert (before[:, :4] - after[:, :4]).abs().max() <= 1e-6
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_packed_documents_are_as_if_alone(seed):
    model = fill(Decoder(TransformerConfig(**random_shape(seed))), seed).eval()
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randint(0, 50, (1, n), generator=generator) for n in (5, 3, 6)]
    padding = torch.full((1, 4), 7)
    documents = [torch.full_like(part, i) for i, part in enumerate([*parts, padding], 1)]
    documents[-1] = torch.zeros_like(padding)
    positions = [torch.arange(part.shape[1])[None] for part in [*parts, padding]]
    row = torch.cat([*parts, padding], 1)

    with torch.no_grad():
        packed = model(
            row,
            position_ids=torch.cat(positions, 1),
            document_ids=torch.cat(documents, 1).int(),
        ).logits
        alone = torch.cat([model(part).logits for part in parts], 1)

    assert packed.isfinite().all()
    assert relative(packed[:, : alone.shape[1]], alone) <= 1e-5


@pytest.mark.parametrize("half", [False, True])
def test_rows_of_padding_only_train_without_nan(tiny, half):
    tokens = torch.randint(0, 50, (3, 8), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[1] * 8, [1, 1, 1, 2, 2, 0, 0, 0], [0] * 8])

    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = tiny(tokens, document_ids=documents).logits.float()
    logits[documents != 0].logsumexp(-1).sum().backward()

    assert logits.isfinite().all()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_positions_must_be_given_with_a_cache(tiny):
    with pytest.raises(ValueError, match="position_ids"):
        tiny(torch.zeros(1, 2, dtype=torch.long), cache=object())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 3, "num_key_value_heads": 2}, "multiple"),
        ({"head_dim": 5}, "odd"),
        ({"layer_types": ("full_attention",)}, "layer_types"),
        ({"layer_types": ("sliding_attention",) * 2}, "sliding_window"),
        ({"hidden_size": 0}, "greater than 0"),
    ],
)
def test_impossible_shapes_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        TransformerConfig(**(random_shape(3, num_hidden_layers=2) | fields))


def test_initialization_is_deterministic_and_leaves_other_randomness_alone(tiny):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    tiny.initialize(5)
    assert torch.equal(torch.rand(3), expected)

    first = {name: weight.clone() for name, weight in tiny.state_dict().items()}
    fill(tiny, 1)
    tiny.initialize(5)
    assert all(torch.equal(first[name], weight) for name, weight in tiny.state_dict().items())
    tiny.initialize(6)
    assert not torch.equal(first["embed_tokens.weight"], tiny.embed_tokens.weight)


def test_at_the_start_every_block_is_the_identity(tiny):
    tiny.initialize(0)
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        assert torch.equal(tiny.hidden_states(tokens), tiny.norm(tiny.embed_tokens(tokens)))


@pytest.mark.slow
@pytest.mark.parametrize(("half", "backend"), [(False, "inductor"), (True, "aot_eager")])
def test_a_block_compiles_whole_and_once(tiny, half, backend):
    """No graph breaks, no recompilation between batches of one shape, the same result."""
    import torch._dynamo.testing

    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    generator = torch.Generator().manual_seed(0)
    tiny.train()

    def step():
        tokens = torch.randint(0, 50, (4, 16), generator=generator)
        documents = torch.randint(0, 4, (4, 16), generator=generator).sort(1).values.int()
        positions = torch.randint(0, 9, (4, 16), generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            hidden = tiny.hidden_states(tokens, position_ids=positions, document_ids=documents)
            loss = tiny.project(hidden).float().logsumexp(-1).square().mean()
        tiny.zero_grad()
        loss.backward()
        return loss.item(), tiny.layers[0].mlp.up_proj.weight.grad.clone()

    eager = [step() for _ in range(3)]
    generator.manual_seed(0)
    torch._dynamo.reset()
    for block in tiny.layers:
        block.compile(fullgraph=True, backend=counter)
    compiled = [step() for _ in range(3)]

    assert counter.frame_count <= len(tiny.layers)
    for (loss, gradient), (expected, reference) in zip(compiled, eager, strict=True):
        assert loss == pytest.approx(expected, rel=2e-2 if half else 1e-5)
        assert (gradient - reference).norm() <= (5e-2 if half else 1e-5) * reference.norm()

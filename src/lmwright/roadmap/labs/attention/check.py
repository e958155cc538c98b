"""What attention must do, in the order in which it is learnt."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmwright.models.layers.attention import AttentionRule, attend, combined_mask
from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call, gradients
from lmwright.roadmap.values import copied

EVERYTHING = AttentionRule(causal=False)


def operands(
    draw: Draw, groups: int = 1, keys: int = 0, least: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """q (B, H, T, K) and k, v (B, Hkv, S, K); T >= `least`, and S = T where `keys` is 0."""
    rows, heads, width = (draw.size(1, most) for most in (3, 3, 9))
    queries = draw.size(least, 7)
    q = draw.normal(rows, heads * groups, queries, width)
    k, v = (draw.normal(rows, heads, keys or queries, width) for _ in range(2))
    return q, k, v


def open_to_all(draw: Draw) -> Case:
    return Case((*operands(draw, keys=draw.size(2, 9)), EVERYTHING))


def scaled(draw: Draw) -> Case:
    scale = draw.choice([None, 1.0, draw.uniform(0.05, 2.0)])
    branch = frozenset({"own scale" if scale else "usual scale"})
    return Case(
        (*operands(draw, keys=draw.size(2, 9)), replace(EVERYTHING, scale=scale)), branches=branch
    )


def grouped(draw: Draw) -> Case:
    return Case((*operands(draw, groups=draw.size(2, 4), keys=draw.size(1, 6)), EVERYTHING))


def earlier(draw: Draw, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """k and v with a few positions of a cache before them."""
    length = draw.size(1, 5)
    old = [draw.normal(*x.shape[:2], length, x.shape[3]) for x in (k, v)]
    return torch.cat((old[0], k), 2), torch.cat((old[1], v), 2)


def causal(draw: Draw) -> Case:
    q, k, v = operands(draw)
    cached = draw.chance(0.5)
    if cached:  # the queries are the last T of S positions
        k, v = earlier(draw, k, v)
    branches = frozenset(
        {"cached" if cached else "whole", "one query" if q.shape[2] == 1 else "many"}
    )
    return Case((q, k, v, AttentionRule()), branches=branches)


def windowed(draw: Draw) -> Case:
    q, k, v = operands(draw, groups=draw.size(1, 2))
    cached = draw.chance(0.4)
    if cached:
        k, v = earlier(draw, k, v)
    rule = AttentionRule(causal=draw.chance(0.6), window=draw.size(1, 4))
    branches = {"cached" if cached else "whole", "causal" if rule.causal else "both sides"}
    return Case((q, k, v, rule), branches=frozenset(branches))


def masked(draw: Draw) -> Case:
    """A mask as callers make them: for all rows or each, all heads or each, all queries or each."""
    q, k, v = operands(draw, groups=draw.size(1, 2))
    cached = draw.chance(0.3)
    if cached:
        k, v = earlier(draw, k, v)
    shape = [draw.choice([1, length]) for length in q.shape[:3]]
    causal = draw.chance(0.4)
    mask = draw.booleans(0.7, *shape, k.shape[2])
    mask[..., 0] |= causal | ~mask.any(-1)  # dead rows come later
    as_float = draw.chance(0.5)
    if as_float:
        mask = draw.normal(*mask.shape).masked_fill(~mask, -torch.inf)
    rule = AttentionRule(mask=mask, causal=causal)
    branches = {"float" if as_float else "bool", "and causal" if causal else "alone"}
    branches.add("cached" if cached else "whole")
    return Case((q, k, v, rule), branches=frozenset(branches))


def biased(draw: Draw, least: int = 1) -> Case:
    q, k, v = operands(draw, groups=draw.size(1, 2), least=least)
    bias = 3 * draw.normal(1, q.shape[1], draw.choice([1, q.shape[2]]), k.shape[2])
    mask = draw.booleans(0.8, len(q), 1, 1, k.shape[2])
    mask[..., :least] = True
    rule = AttentionRule(bias=bias, causal=draw.chance(0.5))
    hidden = draw.chance(0.4)
    rule = replace(rule, mask=mask) if hidden else rule
    return Case((q, k, v, rule), branches=frozenset({"and a mask" if hidden else "alone"}))


def capped(draw: Draw) -> Case:
    q, k, v = operands(draw, groups=draw.size(1, 2))
    rule = AttentionRule(
        causal=draw.chance(0.5),
        soft_cap=draw.choice([0.7, 2.0]),
        scale=draw.choice([None, 0.8]),
        bias=3 * draw.normal(1, q.shape[1], q.shape[2], k.shape[2]) if draw.chance(0.6) else None,
    )
    return Case(
        (q, k, v, rule), branches=frozenset({"no bias" if rule.bias is None else "and a bias"})
    )


def dead_rows(draw: Draw, least: int = 1) -> Case:
    q, k, v = operands(draw, least=least)
    mask = draw.booleans(0.6, len(q), 1, q.shape[2], k.shape[2])
    mask[..., 0] |= ~mask.any(-1)
    mask[draw.size(0, len(q) - 1), :, draw.size(0, q.shape[2] - 1)] = False
    kind = draw.choice(["bool", "float", "and causal", "and a cap"])
    if kind == "and causal":  # padding on the left
        mask = torch.ones(len(q), 1, 1, k.shape[2], dtype=torch.bool)
        mask[0, ..., : draw.size(1, k.shape[2])] = False
    given = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf) if kind == "float" else mask
    cap = 2.0 if kind == "and a cap" else None
    rule = AttentionRule(mask=given, causal=kind == "and causal", soft_cap=cap)
    # One query sees something at least: zeros alone could not be told from other zeros.
    q, k, v = (torch.cat((x, draw.normal(1, *x.shape[1:]))) for x in (q, k, v))
    one = torch.zeros_like(given[:1]) if kind == "float" else torch.ones_like(mask[:1])
    rule = replace(rule, mask=torch.cat((given, one)))
    return Case((q, k, v, rule), branches=frozenset({kind}), note="a query that may see nothing")


def large(draw: Draw) -> Case:
    q, k, v = operands(draw, keys=draw.size(2, 9))
    best = (9e4 * q @ k.transpose(2, 3) / q.shape[3] ** 0.5).topk(2).values
    # Float32 knows scores of 100,000 to 0.01 only: of two that are nearly equal the weights are
    # any right answer's own. A right one was refused in 1.5 % of checks.
    if bool((best[..., 0] - best[..., 1] < 20).any()):
        return large(draw)
    return Case((q * 300, k * 300, v, EVERYTHING), tolerance=1e-3, note="scores up to 100,000")


def halves(draw: Draw) -> Case:
    q, k, v = (x.bfloat16() for x in operands(draw, groups=2))
    rule = AttentionRule()
    kind = draw.choice(["causal", "mask", "bias"])
    if kind == "mask":
        mask = torch.zeros(len(q), 1, 1, k.shape[2])
        mask[..., draw.size(1, k.shape[2]) :] = -torch.inf
        rule = AttentionRule(mask=mask, causal=False)
    elif kind == "bias":
        rule = AttentionRule(bias=draw.normal(1, q.shape[1], q.shape[2], k.shape[2]))
    # An answer is rounded to 8 bits once or twice on its way.
    return Case((q, k, v, rule), branches=frozenset({kind}), tolerance=5e-2)


def in_use(draw: Draw) -> Case:
    """Half precision as a served model has it, BLOOM's rounding of its bias among it."""
    case = halves(draw)
    q, k, v, rule = case.args
    kind = next(iter(case.branches))
    if draw.chance(0.5):
        kind = draw.choice(["rounded bias", "nothing"])
        bias = 2 * draw.normal(1, q.shape[1], draw.choice([1, q.shape[2]]), k.shape[2])
        rule = AttentionRule(
            bias=bias if kind == "rounded bias" else None,
            causal=kind == "rounded bias",
            bias_in_product=True,
        )
    # The bias may be rounded to 8 bits together with the score, or not at all.
    return Case((q, k, v, rule), branches=frozenset({kind}), tolerance=1e-1)


def without_gradients(subject: Subject, case: Case) -> Any:
    """What `call` gives where nothing is learnt."""
    with torch.no_grad():
        return call(subject, case)


def dropping(draw: Draw) -> Case:
    """v is the identity: the answer shows the weights themselves."""
    keys = 24
    q, k = draw.normal(2, 2, keys, 4), draw.normal(2, 2, keys, 4)
    v = torch.eye(keys).expand(2, 2, keys, keys)
    cap = draw.choice([None, 4.0])
    rule = AttentionRule(causal=False, dropout=draw.choice([0.1, 0.5]), soft_cap=cap)
    return Case((q, k, v, rule), note=f"dropout {rule.dropout}, and the identity for values")


def with_and_without(subject: Subject, case: Case) -> Any:
    """The answer without dropout, and what became of it with: 0, 1 or another factor."""
    q, k, v, rule = copied(case.args)
    torch.manual_seed(len(case.note))
    whole, thinned = subject(q, k, v, replace(rule, dropout=0.0)), subject(q, k, v, rule)
    return whole, thinned / whole


def drops_its_share(found: Any, case: Case) -> str | None:
    factors, rate = found[1], case.args[3].dropout
    dropped = (factors == 0).double().mean().item()
    # Of n weights, 6 standard deviations.
    allowed = 6 * (rate * (1 - rate) / factors.numel()) ** 0.5
    if abs(dropped - rate) > allowed:
        return f"{dropped:.1%} of the weights were dropped, and {rate:.0%} should be"
    kept = factors[factors != 0]
    if float((kept - 1 / (1 - rate)).abs().max()) > 1e-3:
        return f"weights that stay must grow by {1 / (1 - rate):.3f}, so that their mean is kept"
    return None


# Below, queries see several keys, and scores are small: where one weight is 1, gradients are
# rounding.


def learnt(draw: Draw) -> Case:
    q, k, v = operands(draw, groups=draw.size(1, 2), least=3)
    return Case((0.5 * q, k, v, AttentionRule()), tolerance=1e-4)


def learnt_with_bias(draw: Draw) -> Case:
    case = biased(draw, least=3)
    q, k, v, rule = case.args
    return Case(
        (0.5 * q, k, v, rule.bias / 3), {"rule": rule}, branches=case.branches, tolerance=1e-4
    )


def gradients_of_bias(subject: Subject, case: Case) -> Any:
    """By q, k, v and the bias, which T5 learns."""

    def attend_with(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, rule: AttentionRule) -> Any:
        return subject(q, k, v, replace(rule, bias=bias))

    return gradients(attend_with, case)


def learnt_with_dead_rows(draw: Draw) -> Case:
    case = dead_rows(draw, least=3)
    q, *others = case.args
    return Case((0.5 * q, *others), branches=case.branches, tolerance=1e-4, note=case.note)


PROPERTIES = (
    Property(
        "each query gives a mean of the values, weighted by softmax(q k^T / sqrt(K))", open_to_all
    ),
    Property(
        "`rule.scale` takes the place of 1 / sqrt(K)",
        scaled,
        branches=frozenset({"own scale", "usual scale"}),
    ),
    Property("query head h reads key head h // group", grouped),
    Property(
        "causal: a query sees no key after it; queries are the last T of S",
        causal,
        branches=frozenset({"cached", "whole", "many"}),
    ),
    Property(
        "`rule.window`: only keys less than so many positions away, on both sides",
        windowed,
        branches=frozenset({"cached", "whole", "causal", "both sides"}),
    ),
    Property(
        "`rule.mask`: bool hides keys, float is added to the scores; `causal` holds as well",
        masked,
        branches=frozenset({"bool", "float", "and causal", "alone", "cached", "whole"}),
    ),
    Property(
        "`rule.bias` is added to the scores",
        biased,
        branches=frozenset({"and a mask", "alone"}),
    ),
    Property(
        "`rule.soft_cap` bends the scaled scores, before the bias",
        capped,
        branches=frozenset({"and a bias", "no bias"}),
    ),
    Property(
        "a query that may see nothing gets zeros",
        dead_rows,
        branches=frozenset({"bool", "float", "and causal", "and a cap"}),
    ),
    Property("large scores overflow nothing", large),
    Property(
        "bfloat16 in, bfloat16 out, whatever the mask is in",
        halves,
        branches=frozenset({"causal", "mask", "bias"}),
    ),
    Property(
        "the same where no gradient is wanted",
        in_use,
        cases=100,
        observe=without_gradients,
        branches=frozenset({"causal", "mask", "bias", "rounded bias", "nothing"}),
    ),
    Property("gradients reach queries, keys and values", learnt, observe=gradients, cases=20),
    Property(
        "gradients reach the bias",
        learnt_with_bias,
        observe=gradients_of_bias,
        cases=20,
    ),
    Property(
        "a query that may see nothing sends no NaN back",
        learnt_with_dead_rows,
        observe=gradients,
        cases=30,
    ),
    Property(
        "`rule.dropout` drops that share of the weights, and the others make up for it",
        dropping,
        cases=10,
        observe=with_and_without,
        compare=False,
        holds=drops_its_share,
    ),
)


def head_temperature(
    q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, temperature: Tensor
) -> Tensor:
    return attend(q / temperature[:, None, None], k, v, rule)


def sink(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
    nothing = torch.zeros_like(k[:, :, :1])
    mask = combined_mask(replace(rule, causal=rule.causal), q, k)
    seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool) if mask is None else mask
    always = torch.ones_like(seen[..., :1])
    whole = replace(rule, mask=torch.cat((always, seen), -1), causal=False)
    return attend(q, torch.cat((nothing, k), 2), torch.cat((nothing, v), 2), whole)


def linear_bias(q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, slope: float) -> Tensor:
    queries, keys = q.shape[2], k.shape[2]
    place = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
    return attend(q, k, v, replace(rule, bias=-slope * place.abs().float()))


def _with(draw: Draw, *more: object) -> Case:
    return Case((*operands(draw, keys=0), AttentionRule(causal=draw.chance(0.5)), *more))


TWISTS = {
    "head_temperature": Twist(
        "attend_with_temperature",
        "`attend_with_temperature(q, k, v, rule, temperature)`: the scores of query head h are "
        "divided by `temperature[h]`, (H,) positive float32, before the softmax.",
        head_temperature,
        (Property("each head has a temperature of its own", lambda d: _heated(d)),),
    ),
    "sink": Twist(
        "attend_with_sink",
        "`attend_with_sink(q, k, v, rule)`: beside the keys there is one more place to look at; "
        "its score is 0 and its value is 0 (softmax-one): a query may attend to nothing.",
        sink,
        (Property("one more place of score 0 and value 0 stands before the keys", _with),),
    ),
    "linear_bias": Twist(
        "attend_with_slope",
        "`attend_with_slope(q, k, v, rule, slope)`: `slope` (a float) times the distance between "
        "query and key is taken from each score.",
        linear_bias,
        (
            Property(
                "scores fall by `slope` for each position of distance", lambda d: _with(d, 0.3)
            ),
        ),
    ),
}


def _heated(draw: Draw) -> Case:
    case = _with(draw)
    return replace(case, args=(*case.args, 0.3 + draw.uniforms(case.args[0].shape[1])))

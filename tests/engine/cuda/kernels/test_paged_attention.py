"""The kernels beside attention written out in float64, over blocks in random order."""

import random
from dataclasses import dataclass, field

import pytest
import torch

from lmwright.engine.batch import Batch
from lmwright.engine.cuda import coverage, paged_attention
from lmwright.engine.cuda.cache import DTYPES
from lmwright.engine.cuda.inputs import Inputs, Sender
from lmwright.engine.cuda.paged_attention import Blocks
from lmwright.engine.cuda.plan import Tiling, numbers_of
from lmwright.models.layers.attention import AttentionRule
from lmwright.models.layers.positions import alibi_slopes

BLOCKS = 24


@dataclass(frozen=True)
class Case:
    """Shapes, a rule, and how much each sequence has before its new tokens.

    Args:
        sequences: (tokens in the cache, new tokens) of each.
        stored: how keys and values are kept; fp16 has no name on the command line.
        processors: of the GPU that a few queries are spread over.
        tolerance: of the result, whose values are about 1.
    """

    sequences: list[tuple[int, int]]
    heads: int = 4
    key_heads: int = 2
    width: int = 8
    block_size: int = 4
    rule: AttentionRule = field(default_factory=AttentionRule)
    alibi: bool = False
    dtype: torch.dtype = torch.float32
    stored: torch.dtype | None = None
    processors: int = 1
    tolerance: float = 2e-6


CASES = {
    "one token each": Case([(0, 1), (6, 1), (13, 1)]),
    "split over the context": Case([(37, 1), (0, 1)], width=16, processors=10),
    "a chunk beside answers": Case([(5, 1), (3, 19), (0, 2)]),
    "a long chunk of one head's keys": Case([(2, 40)], heads=3, key_heads=1, block_size=16),
    "heads of no power of two": Case([(9, 2), (4, 1)], width=12, block_size=3),
    "five heads to a group": Case([(7, 1), (1, 6)], heads=5, key_heads=1, width=20),
    "no groups": Case([(7, 1), (1, 18)], heads=3, key_heads=3),
    "more heads in a group than a tile's rows": Case([(6, 1)], heads=18, key_heads=1),
    "a window": Case([(21, 1), (2, 1), (6, 20)], rule=AttentionRule(window=5)),
    "a window, split": Case([(30, 1)], rule=AttentionRule(window=23), width=64, processors=16),
    "a soft cap": Case([(8, 1), (2, 9)], rule=AttentionRule(soft_cap=0.7)),
    "a scale of its own": Case([(8, 1)], rule=AttentionRule(scale=1.3)),
    "alibi": Case([(14, 1), (3, 18)], heads=6, alibi=True),
    "alibi, split, with a cap and a window": Case(
        [(26, 1)], alibi=True, rule=AttentionRule(soft_cap=2.0, window=17), processors=8
    ),
    "bfloat16": Case([(9, 1), (3, 4)], dtype=torch.bfloat16, tolerance=2e-2),
    "float16": Case([(9, 1), (3, 4)], dtype=torch.float16, tolerance=2e-3),
    "bfloat16 in a float32 cache": Case(
        [(9, 1)], dtype=torch.bfloat16, stored=torch.float32, tolerance=2e-2
    ),
    "a byte for each value": Case([(9, 1), (3, 7)], stored=torch.int8),
    "a byte for each value, bfloat16": Case(
        [(9, 1), (3, 3)], dtype=torch.bfloat16, stored=torch.int8, tolerance=2e-2
    ),
    "fp8": Case([(9, 1), (3, 7)], stored=torch.float8_e4m3fn),
}


class Place:
    """Sequences with random keys and values, in blocks handed out at random."""

    def __init__(self, case, seed, device):
        self.case, self.device = case, device
        self.draw = torch.Generator().manual_seed(seed)
        order = random.Random(seed).sample(range(BLOCKS), BLOCKS)
        lengths = [before + new for before, new in case.sequences]
        needs = [-(-length // case.block_size) for length in lengths]
        self.tables = [[order.pop() for _ in range(need)] for need in needs]
        shape = (BLOCKS, 2, case.key_heads, case.block_size)
        stored = case.stored or case.dtype
        values = torch.zeros(*shape, case.width, device=device).to(stored)
        if stored.is_floating_point:
            values = torch.full(values.shape, torch.nan, device=device).to(stored)
        scales = torch.full(shape, torch.nan, device=device) if stored == torch.int8 else None
        self.blocks = Blocks(values, scales)
        self.keys = [self.random(case.key_heads, length) for length in lengths]
        self.values = [self.random(case.key_heads, length) for length in lengths]

    def random(self, heads, tokens):
        size = (heads, tokens, self.case.width)
        drawn = torch.randn(size, generator=self.draw).to(self.case.dtype)
        if self.case.stored == torch.float8_e4m3fn and self.device.type == "cpu":
            return drawn.to(self.case.stored).to(self.case.dtype)  # the interpreter rounds wrongly
        return drawn

    def inputs(self, spans):
        """A pass over these (first, end) positions of the sequences."""
        width = max(map(len, self.tables))
        batch = Batch(
            token_ids=torch.zeros(sum(end - first for first, end in spans), dtype=torch.int64),
            positions=torch.cat([torch.arange(*span) for span in spans]),
            query_starts=torch.tensor([0] + [end - first for first, end in spans]).cumsum(0).int(),
            context_lengths=torch.tensor([end for _, end in spans]).int(),
            block_tables=torch.tensor([t + [0] * (width - len(t)) for t in self.tables]).int(),
            logit_rows=torch.zeros(0, dtype=torch.int64),
        )
        tiling = Tiling(self.case.heads // self.case.key_heads)
        numbers = numbers_of(batch, tiling, self.case.block_size)
        return Sender(self.device).send(numbers)

    def store(self, inputs: Inputs, spans):
        new = [
            torch.cat([own[:, first:end] for own, (first, end) in zip(all_, spans, strict=True)], 1)
            for all_ in (self.keys, self.values)
        ]
        paged_attention.store(
            new[0].to(self.device), new[1].to(self.device), inputs.slots, self.blocks
        )

    def expected(self, queries, spans):
        """(N, H, K) in float64."""
        case, rows, token = self.case, [], 0
        for number, span in enumerate(spans):
            keys, values = self.as_stored(self.keys[number]), self.as_stored(self.values[number])
            for position in range(*span):
                query = queries[:, token].double()
                rows.append(self.one(query, position, keys.double(), values.double()))
                token += 1
        assert token == queries.shape[1]
        assert len(rows[0]) == case.heads
        return torch.stack(rows)

    def one(self, query, position, keys, values):
        case, rule = self.case, self.case.rule
        first = 0 if rule.window is None else max(0, position - rule.window + 1)
        at, mixed = torch.arange(first, position + 1), []
        slopes = alibi_slopes(case.heads)
        for head in range(case.heads):
            own = head // (case.heads // case.key_heads)
            scores = keys[own, at] @ query[head] * (rule.scale or case.width**-0.5)
            if rule.soft_cap is not None:
                scores = rule.soft_cap * torch.tanh(scores / rule.soft_cap)
            if case.alibi:
                scores = scores + slopes[head] * at
            mixed.append(scores.softmax(-1) @ values[own, at])
        return torch.stack(mixed)

    def as_stored(self, vectors):
        """What is left of vectors (Hkv, S, K) in the cache's type."""
        stored = self.case.stored or self.case.dtype
        if stored != torch.int8:
            return vectors.to(stored).float()
        scale = vectors.float().abs().amax(-1, keepdim=True) / 127
        return (vectors.float() / scale).round() * scale


@pytest.mark.parametrize("name", CASES)
def test_attention_over_blocks_equals_attention_written_out(name, device):
    case = CASES[name]
    if case.stored == torch.float8_e4m3fn:
        skip_without_fp8(device)
    place = Place(case, 7 * len(name), device)
    before = [(0, old) for old, _ in case.sequences]
    spans = [(old, old + new) for old, new in case.sequences]
    if any(old for _, old in before):
        place.store(place.inputs(before), before)
    inputs = place.inputs(spans)
    place.store(inputs, spans)
    queries = place.random(case.heads, sum(new for _, new in case.sequences))

    found = paged_attention.attend(
        queries.to(device),
        inputs,
        place.blocks,
        case.rule,
        alibi_slopes(case.heads).to(device) if case.alibi else None,
        case.processors,
    )

    assert found.dtype == case.dtype
    difference = (found.cpu().double() - place.expected(queries, spans)).abs().max()
    assert difference <= case.tolerance


def test_queries_whose_heads_lie_apart_are_read_where_they_are(device):
    place = Place(Case([(0, 3)]), 1, device)
    inputs = place.inputs([(0, 3)])
    place.store(inputs, [(0, 3)])
    queries = place.random(4, 3)
    apart = queries.transpose(0, 1).contiguous().transpose(0, 1).to(device)
    wide = torch.stack((queries, queries), -1)[..., 0].to(device)  # gaps between numbers
    for given in (apart, wide):
        found = paged_attention.attend(given, inputs, place.blocks, AttentionRule(), None, 1)
        difference = (found.cpu().double() - place.expected(queries, [(0, 3)])).abs().max()
        assert difference <= 2e-6


@pytest.mark.parametrize("stored", ["bf16", "int8", "fp8"])
def test_what_is_stored_is_rounded_as_torch_rounds(stored, device):
    if stored != "int8" and device.type == "cpu":
        pytest.skip("needs a GPU: triton's interpreter truncates bfloat16, and rounds fp8 wrongly")
    if stored == "fp8":
        skip_without_fp8(device)
    place = Place(Case([(0, 5)], width=24, stored=DTYPES[stored]), 3, device)
    place.keys[0][0, 1] = 0.0  # a scale that zeros can be divided by
    inputs = place.inputs([(0, 5)])
    place.store(inputs, [(0, 5)])
    for which, given in enumerate((place.keys[0], place.values[0])):
        found = torch.stack([_row(place, which, position) for position in range(5)], 1)
        assert torch.allclose(found, place.as_stored(given).nan_to_num(), rtol=1e-6, atol=0)


def test_what_is_too_large_for_fp8_becomes_its_largest(device):
    skip_without_fp8(device)
    place = Place(Case([(0, 1)], stored=torch.float8_e4m3fn), 3, device)
    place.keys[0][0, 0, :2] = torch.tensor([1000.0, -1e30])
    place.store(place.inputs([(0, 1)]), [(0, 1)])
    assert _row(place, 0, 0)[0, :2].tolist() == [448.0, -448.0]


def skip_without_fp8(device):
    if device.type == "cuda" and (reason := coverage.fp8_on(device)) is not None:
        pytest.skip(reason)


def _row(place, which, position):
    """(Hkv, K) of the first sequence, as the cache has it."""
    block = place.tables[0][position // place.case.block_size]
    at = (block, which, slice(None), position % place.case.block_size)
    row = place.blocks.values[at].float().cpu()
    if place.blocks.scales is not None:
        row = row * place.blocks.scales[at].cpu()[:, None]
    return row

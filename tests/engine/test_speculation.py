import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from lmwright.core.errors import LmwrightError
from lmwright.engine.constraints import Grammar
from lmwright.engine.params import Constraint, SamplingParams
from lmwright.engine.sampling import SamplingState, choose, distribution
from lmwright.engine.speculation import DraftModelProposer, NgramProposer, accept
from tests.engine.conftest import build_model

DRAWS = 20_000
END = 5
OPTIONS = {
    "greedy": {},
    "sampled": {"temperature": 1.0},
    "filtered": {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "min_p": 0.05},
    "penalised": {
        "temperature": 0.9,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.3,
        "logit_bias": {7: 2.0},
        "min_tokens": 9,
    },
    "reported": {"temperature": 1.0, "logprobs": True, "top_logprobs": 3},
}


class Recomputing:
    """A runner that keeps tokens in its blocks and computes each sequence from its first on."""

    def __init__(self, model, block_size=4, num_blocks=64):
        self.model, self.block_size, self.num_blocks = model, block_size, num_blocks
        self.stored = torch.zeros(num_blocks * block_size, dtype=torch.long)
        self.tokens_read = 0

    def forward(self, batch):
        rows = []
        self.tokens_read += len(batch.token_ids)
        starts = batch.query_starts.tolist()
        for row, context in enumerate(batch.context_lengths.tolist()):
            own = slice(starts[row], starts[row + 1])
            blocks = batch.block_tables[row].long().repeat_interleave(self.block_size)
            places = blocks * self.block_size + torch.arange(len(blocks)) % self.block_size
            assert (
                batch.positions[own].tolist()
                == list(range(context))[starts[row] - starts[row + 1] :]
            )
            self.stored[places[batch.positions[own]]] = batch.token_ids[own]
            logits = self.model(self.stored[places[:context]][None]).logits[0]
            rows.append(logits[starts[row] - starts[row + 1] :])
        return torch.cat(rows)[batch.logit_rows]

    def describe(self):
        return "recomputing"


def plain(model, prompt, params, length, matcher=None):
    """A sequence token by token, everything recomputed; the choices."""
    state = SamplingState(params, prompt, end_ids=frozenset({END}), matcher=matcher)
    choices = []
    while len(choices) < length and not (choices and choices[-1].token_id in state.end_ids):
        ids = [*prompt, *(choice.token_id for choice in choices)]
        choices += choose(model(torch.tensor([ids])).logits[:, -1], [state])
        state.advance(choices[-1].token_id)
    return choices


def speculative(model, prompt, params, length, proposer, most=4, matcher=None):
    """The same through drafts; the choices, and how many passes they took."""
    state = SamplingState(params, prompt, end_ids=frozenset({END}), matcher=matcher)
    choices, passes = [], 0
    while len(choices) < length and not (choices and choices[-1].token_id in state.end_ids):
        ids = [*prompt, *(choice.token_id for choice in choices)]
        (drafts,) = proposer.propose([ids], most)
        logits = model(torch.tensor([ids + drafts])).logits[0, len(ids) - 1 :]
        choices += accept(logits, drafts, state)
        passes += 1
    return choices[:length], passes


def assert_same(found, expected):
    assert [choice.token_id for choice in found] == [choice.token_id for choice in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
        assert [token for token, _ in ours.top] == [token for token, _ in theirs.top]


class Oracle:
    """Drafts that are right up to a place."""

    def __init__(self, text, right):
        self.text, self.right = text, right

    def propose(self, sequence_ids, most):
        (ids,) = sequence_ids
        drafts = self.text[len(ids) : len(ids) + most]
        return [[token if i < self.right else (token + 1) % 320 for i, token in enumerate(drafts)]]


@pytest.mark.parametrize("right", [0, 2, 4])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_seed_gives_the_same_text_with_drafts_right_or_wrong(model, option, right):
    prompt, params = [7, 30, 99, 12], SamplingParams(seed=11, **OPTIONS[option])
    expected = plain(model, prompt, params, 20)
    text = prompt + [choice.token_id for choice in expected]

    found, passes = speculative(model, prompt, params, 20, Oracle(text, right))

    assert_same(found, expected)
    if right == 4:
        assert passes <= -(-len(expected) // 5) + 1
    if right == 0:
        assert passes == len(expected)


@pytest.mark.parametrize(
    "option",
    [
        "sampled",
        pytest.param("filtered", marks=pytest.mark.slow),
        pytest.param("penalised", marks=pytest.mark.slow),
    ],
)
def test_accepted_and_replaced_tokens_follow_the_plain_distribution(option):
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(3, 12, generator=generator)
    params = {"temperature": 1.0} | OPTIONS[option] | {"min_tokens": 0}
    (draft, next_draft) = logits.topk(2, dim=-1).indices[:2, 1].tolist()

    pairs = []
    for seed in range(DRAWS):
        state = SamplingState(SamplingParams(seed=seed, **params), (1, 2))
        tokens = [choice.token_id for choice in accept(logits, [draft, next_draft], state)]
        pairs.append(tokens)

    first, second = torch.zeros(12), torch.zeros(12)
    for tokens in pairs:
        assert len(tokens) == 1 + (tokens[0] == draft) + (tokens[:2] == [draft, next_draft])
        first[tokens[0]] += 1
        if len(tokens) > 1:
            second[tokens[1]] += 1
    state = SamplingState(SamplingParams(**params), (1, 2))
    for row, counts in enumerate((first, second)):
        expected = distribution(logits[row : row + 1], [state])[0] * counts.sum()
        assert counts[expected == 0].sum() == 0
        kept = expected > 0
        assert chisquare(counts[kept].double(), expected[kept], sum_check=False).pvalue > 0.001
        state.advance(draft)


def test_nothing_follows_an_end_token_or_leaves_the_grammar(model, tokenizer):
    logits = torch.zeros(3, 320)
    logits[:, END] = 9.0
    state = SamplingState(SamplingParams(), (1,), end_ids=frozenset({END}))
    assert [choice.token_id for choice in accept(logits, [END, END], state)] == [END]

    params = SamplingParams(temperature=1.0, seed=2, constraint=Constraint("regex", "[a-d]{1,30}"))

    def start():
        grammar = Grammar.compile(params.constraint, tokenizer)
        return grammar.matcher(end_ids={END}, most=25)

    prompt = [7, 30, 99]
    expected = plain(model, prompt, params, 25, start())
    text = prompt + [choice.token_id for choice in expected]
    for right in (0, 1, 4):
        found, _ = speculative(model, prompt, params, 25, Oracle(text, right), matcher=start())
        assert_same(found, expected)


def expected_lookup(ids, most, longest, shortest):
    """The definition: the longest suffix seen before, its latest place, what stood behind it."""
    for length in range(min(longest, len(ids) - 1), shortest - 1, -1):
        for start in range(len(ids) - length - 1, -1, -1):
            if ids[start : start + length] == ids[-length:]:
                text = list(ids)
                while len(text) < len(ids) + most:
                    text.append(text[start + length + len(text) - len(ids)])
                return text[len(ids) :]
    return []


@settings(max_examples=300, deadline=None)
@given(
    ids=st.lists(st.sampled_from([1, 256, 2**16, 2**16 + 1, 257]), min_size=1, max_size=40),
    most=st.integers(0, 8),
    bounds=st.tuples(st.integers(1, 4), st.integers(0, 3)),
)
def test_lookup_finds_what_followed_the_longest_recurring_end(ids, most, bounds):
    shortest, longest = bounds[0], sum(bounds)
    proposer = NgramProposer(longest, shortest)
    before = list(ids)
    assert proposer.propose([ids], most) == [expected_lookup(ids, most, longest, shortest)]
    assert ids == before


def test_lookup_refuses_lengths_that_cannot_be():
    for longest, shortest in ((3, 0), (2, 3)):
        with pytest.raises(LmwrightError, match="shortest"):
            NgramProposer(longest, shortest)


@pytest.mark.parametrize("option", ["greedy", "sampled", "penalised"])
def test_lookup_changes_no_text(model, option):
    prompt = [40, 41, 42, 43] * 4
    params = SamplingParams(seed=3, **OPTIONS[option])
    found, _ = speculative(model, prompt, params, 24, NgramProposer(3, 1))
    assert_same(found, plain(model, prompt, params, 24))


def greedy_continuation(model, ids, most):
    ids = list(ids)
    for _ in range(most):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-most:]


def test_a_draft_model_proposes_what_it_would_write(random_prompts):
    draft = build_model(seed=5)
    proposer = DraftModelProposer(Recomputing(draft), context_length=96)
    prompts = random_prompts(4, seed=1, longest=20)
    generator = torch.Generator().manual_seed(0)
    for step in range(8):
        found = proposer.propose(prompts, 3)
        assert found == [greedy_continuation(draft, ids, 3) for ids in prompts]
        # Some of the drafts are accepted, and another token follows; sequences come and go.
        for ids, drafts in zip(prompts, found, strict=True):
            kept = int(torch.randint(0, 4, (1,), generator=generator))
            ids += [*drafts[:kept], int(torch.randint(0, 320, (1,), generator=generator))]
        if step == 3:
            prompts = [prompts[2], prompts[0], *random_prompts(2, seed=2, longest=9)]


def test_a_draft_model_reads_each_token_once():
    runner = Recomputing(build_model(seed=5))
    proposer = DraftModelProposer(runner, context_length=96)
    ids = [5, 6, 7, 8, 9, 10]
    (drafts,) = proposer.propose([ids], 3)
    assert runner.tokens_read == 6 + 2
    proposer.propose([[*ids, *drafts[:2], (drafts[2] + 1) % 320]], 1)
    assert runner.tokens_read == 6 + 2 + 1


def test_a_draft_model_is_silent_where_it_has_no_room():
    draft = build_model(seed=5)
    proposer = DraftModelProposer(Recomputing(draft, num_blocks=4), context_length=12)
    long, short = list(range(10, 25)), [3, 4, 5]
    found = proposer.propose([long, short], 4)
    assert found == [[], greedy_continuation(draft, short, 4)]
    # Twelve positions, of which ten are taken; then blocks for no more than one of two.
    assert len(proposer.propose([long[:10]], 4)[0]) == 2
    found = proposer.propose([long[:10], long[1:11]], 1)
    assert sorted(map(len, found)) == [0, 1]


def test_a_draft_model_reads_a_long_prompt_over_several_calls(monkeypatch):
    monkeypatch.setattr("lmwright.engine.speculation.TOKENS_PER_PASS", 8)
    draft = build_model(seed=5)
    proposer = DraftModelProposer(Recomputing(draft), context_length=96)
    ids = torch.randint(0, 320, (20,), generator=torch.Generator().manual_seed(3)).tolist()
    assert [proposer.propose([ids], 2) for _ in range(2)] == [[[]], [[]]]
    assert proposer.propose([ids], 2) == [greedy_continuation(draft, ids, 2)]


def test_a_draft_model_speeds_up_its_own_text(model):
    prompt, params = [7, 30, 99, 12], SamplingParams()
    proposer = DraftModelProposer(Recomputing(model), context_length=96)
    expected = plain(model, prompt, params, 20)
    found, passes = speculative(model, prompt, params, 20, proposer)
    assert_same(found, expected)
    assert passes <= -(-len(expected) // 5)

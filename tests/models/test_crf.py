"""The CRF against enumeration of every tag sequence."""

import itertools

import pytest
import torch

from lmwright.core.errors import LmwrightError
from lmwright.models.crf import CRF, UNTAGGED, allowed_transitions
from tests.models.cases import relative

SEEDS = range(6)
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "E-LOC", "S-LOC")


def random_crf(seed, labels=3, allowed=None):
    generator = torch.Generator().manual_seed(seed)
    crf = CRF(labels, allowed).double()
    with torch.no_grad():
        for weight in crf.parameters():
            weight.normal_(generator=generator)
    return crf


def random_scores(seed, rows=3, length=5, labels=3):
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(rows, length, labels, generator=generator, dtype=torch.float64)


def every_score(crf, emissions, legal=lambda tags: True):
    """{tags: score} of one row (T, C), from the definition."""
    result = {}
    for tags in itertools.product(range(crf.num_labels), repeat=len(emissions)):
        if not legal(tags):
            continue
        score = crf.start[tags[0]] + crf.end[tags[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(tags))
        score = score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))
        result[tags] = score.item()
    return result


def log_sum(values):
    return torch.tensor(list(values), dtype=torch.float64).logsumexp(0)


@pytest.mark.parametrize("seed", SEEDS)
def test_partition_likelihood_and_viterbi_equal_enumeration(seed):
    crf, emissions = random_crf(seed), random_scores(seed)
    tags = torch.randint(0, 3, (3, 5), generator=torch.Generator().manual_seed(seed))
    found, total = crf.viterbi(emissions)
    for row in range(3):
        scores = every_score(crf, emissions[row])
        partition = log_sum(scores.values())
        assert torch.isclose(crf.log_partition(emissions)[row], partition, atol=1e-10)
        expected = scores[tuple(tags[row].tolist())] - partition
        assert torch.isclose(crf.log_likelihood(emissions, tags)[row], expected, atol=1e-10)
        best = max(scores, key=scores.get)
        assert tuple(found[row].tolist()) == best
        assert total[row].item() == pytest.approx(scores[best])


@pytest.mark.parametrize("places", ["right", "left", "between"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_mask_leaves_out_changes_nothing(seed, places):
    crf, generator = random_crf(seed), torch.Generator().manual_seed(seed)
    lengths, width = [4, 1, 6, 0], 8
    emissions = random_scores(seed, 4, width)
    tags = torch.randint(0, 3, (4, width), generator=generator)
    mask = torch.zeros(4, width, dtype=torch.long)
    for row, length in enumerate(lengths):
        order = {
            "right": torch.arange(width),
            "left": torch.arange(width).flip(0),
            "between": torch.randperm(width, generator=generator),
        }[places]
        mask[row, order[:length]] = 1
    junk = torch.where(mask.bool(), tags, UNTAGGED)
    partition, likelihood = crf.log_partition(emissions, mask), crf.log_likelihood
    found, total = crf.viterbi(emissions, mask)

    for row, length in enumerate(lengths):
        kept = mask[row].bool()
        assert (found[row][~kept] == UNTAGGED).all()
        if length == 0:
            assert partition[row] == total[row] == likelihood(emissions, junk, mask)[row] == 0
            continue
        alone, gold = emissions[row, kept][None], tags[row, kept][None]
        assert torch.isclose(partition[row], crf.log_partition(alone)[0])
        assert torch.isclose(likelihood(emissions, junk, mask)[row], likelihood(alone, gold)[0])
        best, score = crf.viterbi(alone)
        assert torch.equal(found[row, kept], best[0])
        assert torch.isclose(total[row], score[0])


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_gradcheck(seed):
    crf, emissions = random_crf(seed), random_scores(seed, 2, 4).requires_grad_()
    tags = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0]])
    names = [name for name, _ in crf.named_parameters()]

    def likelihood(scores, *weights):
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(
            _Likelihood(crf), given_names(given), (scores, tags, mask)
        )

    def given_names(given):
        return {f"crf.{name}": weight for name, weight in given.items()}

    assert torch.autograd.gradcheck(likelihood, (emissions, *crf.parameters()))


class _Likelihood(torch.nn.Module):
    def __init__(self, crf):
        super().__init__()
        self.crf = crf

    def forward(self, scores, tags, mask):
        return self.crf.log_likelihood(scores, tags, mask)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_the_gradient_of_the_partition_is_the_marginals(seed):
    crf, emissions = random_crf(seed), random_scores(seed, 1).requires_grad_()
    (marginals,) = torch.autograd.grad(crf.log_partition(emissions).sum(), emissions)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    scores = every_score(crf, emissions[0].detach())
    partition = log_sum(scores.values())
    for tags, score in scores.items():
        for t, tag in enumerate(tags):
            expected[t, tag] += (score - partition).exp()
    assert relative(marginals[0], expected) <= 1e-10


def spans_are_whole(names, scheme):
    """The rule told once more, as a walk over the names."""
    opened = None
    for name in names:
        prefix, _, kind = name.partition("-")
        if prefix in "IE" and kind != opened:
            return False
        if scheme == "BIOES" and prefix in "BOS" and opened is not None:
            return False
        opened = kind if prefix in "BI" else None
    return scheme == "BIO" or opened is None


@pytest.mark.parametrize(("labels", "scheme"), [(BIO, "BIO"), (BIOES, "BIOES")])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_schemes_leave_only_whole_spans(seed, labels, scheme):
    crf = random_crf(seed, len(labels), allowed_transitions(labels, scheme))
    emissions = random_scores(seed, 2, 4, len(labels)) * 3

    def legal(tags):
        return spans_are_whole([labels[tag] for tag in tags], scheme)

    found, _ = crf.viterbi(emissions)
    for row in range(2):
        scores = every_score(crf, emissions[row], legal)
        assert torch.isclose(crf.log_partition(emissions)[row], log_sum(scores.values()))
        assert tuple(found[row].tolist()) == max(scores, key=scores.get)


def test_tags_that_nothing_leads_to_leave_the_gradient_finite():
    labels = ("O", "I-PER", "B-LOC")  # no B-PER: I-PER is never reached
    crf = random_crf(0, 3, allowed_transitions(labels, "BIO"))
    emissions = random_scores(0).float().requires_grad_()
    loss = -crf.log_likelihood(emissions, torch.zeros(3, 5, dtype=torch.long)).sum()
    loss.backward()
    assert emissions.grad.isfinite().all()
    assert not emissions.grad[..., 1].any()


def test_half_precision_scores_are_summed_in_single():
    crf = random_crf(0).float()
    emissions = random_scores(0).bfloat16()
    assert crf.log_partition(emissions).dtype == torch.float32
    assert torch.equal(crf.log_partition(emissions), crf.log_partition(emissions.float()))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([[0, 5, 0]], "label 5 is not one of the 5 labels"),
        ([[0, UNTAGGED, 0]], "label -100"),
        ([[0, 2, 2]], "forbids label 2 after label 0"),
        ([[4, 0, 0]], "the first label"),
        ([[0, 0]], "labels have shape"),
    ],
)
def test_impossible_labels_are_refused(tags, message):
    crf = CRF(5, allowed_transitions(BIO, "BIO"))
    with pytest.raises(LmwrightError, match=message) as caught:
        crf.log_likelihood(torch.zeros(1, 3, 5), torch.tensor(tags))
    assert "\n" not in caught.value.what


def test_an_open_span_at_the_end_is_refused():
    crf = CRF(len(BIOES), allowed_transitions(BIOES, "BIOES"))
    with pytest.raises(LmwrightError, match="the last label"):
        crf.log_likelihood(torch.zeros(1, 2, len(BIOES)), torch.tensor([[0, 1]]))


@pytest.mark.parametrize(
    ("emissions", "mask", "message"),
    [((2, 3, 4), None, "over 5 labels"), ((2, 3), None, "scores"), ((2, 3, 5), (2, 4), "the mask")],
)
def test_wrong_shapes_are_refused(emissions, mask, message):
    mask = None if mask is None else torch.ones(mask)
    with pytest.raises(LmwrightError, match=message):
        CRF(5).log_partition(torch.zeros(emissions), mask)


@pytest.mark.parametrize("label", ["PER", "X-PER", "B-", "E-PER"])
def test_labels_of_another_scheme_are_refused(label):
    with pytest.raises(LmwrightError, match="not of the scheme BIO"):
        allowed_transitions(("O", label), "BIO")

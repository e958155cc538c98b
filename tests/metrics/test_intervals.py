"""Intervals and paired tests against SciPy, closed forms and their promised coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lmwright.core.errors import LmwrightError
from lmwright.metrics.intervals import (
    bootstrap,
    mcnemar,
    mean_of_proportions,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (0, 10), (1, 1), (7, 10), (950, 1000), (3, 2000)]
)
def test_wilson_equals_scipy(successes, n, confidence):
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_wilson_solves_its_own_equation():
    # Its ends are the p at which |successes/n - p| = z sqrt(p (1 - p) / n).
    z = stats.norm.ppf(0.975)
    for end in wilson(17, 60):
        assert abs(17 / 60 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 60))


def test_wilson_without_trials_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(-1, 4), (5, 4)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(LmwrightError, match="no proportion"):
        wilson(successes, n)


def test_wilson_refuses_a_confidence_outside_its_range():
    with pytest.raises(LmwrightError, match="between 0 and 1"):
        wilson(1, 2, confidence=95)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=80)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap(values, seed=2, resamples=20_000)
    width = expected.high - expected.low
    assert found == pytest.approx((expected.low, expected.high), abs=0.03 * width)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        low, high = bootstrap(rng.normal(5.0, 2.0, size=60), seed=trial, resamples=300)
        covered += low <= 5.0 <= high
    assert (
        stats.binomtest(covered, 200, 0.93).pvalue > 0.001
    )  # percentile intervals run a little short


def test_bootstrap_takes_a_seed_a_statistic_and_records():
    values = np.random.default_rng(4).normal(size=(50, 2))
    ratio = lambda rows: float(rows[:, 0].mean() - rows[:, 1].mean())  # noqa: E731
    assert bootstrap(values, seed=5, statistic=ratio) == bootstrap(values, seed=5, statistic=ratio)
    assert bootstrap(values, seed=5, statistic=ratio) != bootstrap(values, seed=6, statistic=ratio)


def test_bootstrap_needs_values():
    with pytest.raises(LmwrightError, match="at least one value"):
        bootstrap([], seed=0)


def test_paired_difference_is_far_tighter_than_unpaired_on_shared_difficulty():
    rng = np.random.default_rng(7)
    difficulty = rng.normal(scale=10, size=200)
    first = difficulty + rng.normal(scale=0.1, size=200)
    second = difficulty + 0.5 + rng.normal(scale=0.1, size=200)
    low, high = paired_difference(first, second, seed=8)
    assert 0.45 < low < 0.5 + 0.05 < high + 0.05
    assert high - low < 0.1


def test_paired_difference_of_a_system_with_itself_is_zero():
    assert paired_difference([1, 0, 1], [1, 0, 1], seed=0) == (0.0, 0.0)


def test_mcnemar_equals_the_exact_binomial_test():
    for first_alone, second_alone in itertools.product(range(6), range(6)):
        first = [True] * first_alone + [False] * second_alone + [True, False]
        second = [False] * first_alone + [True] * second_alone + [True, False]
        discordant = first_alone + second_alone
        expected = stats.binomtest(first_alone, discordant).pvalue if discordant else 1.0
        assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_stands_thousands_of_discordant_items():
    assert mcnemar([True] * 3000, [False] * 3000) == pytest.approx(0.0)


@pytest.mark.parametrize("compare", [mcnemar, lambda a, b: paired_difference(a, b, seed=0)])
def test_pairs_must_match(compare):
    with pytest.raises(LmwrightError, match="same items"):
        compare([True], [True, False])


def test_the_mean_of_one_proportion_is_that_proportion():
    assert mean_of_proportions([(7, 10)]) == pytest.approx(wilson(7, 10))


def test_the_interval_of_a_mean_of_proportions_covers_it():
    rng = np.random.default_rng(9)
    rates, sizes = np.array([0.97, 0.8, 0.6]), np.array([60, 40, 80])
    covered = 0
    for _ in range(1_000):
        successes = rng.binomial(sizes, rates)
        low, high = mean_of_proportions(list(zip(successes.tolist(), sizes.tolist(), strict=True)))
        covered += low <= rates.mean() <= high
    assert stats.binomtest(covered, 1_000, 0.95).pvalue > 0.001


def test_a_mean_of_perfect_proportions_is_still_uncertain():
    low, high = mean_of_proportions([(20, 20), (30, 30)])
    assert low < 0.95
    assert high == 1.0


@pytest.mark.parametrize("counts", [[], [(1, 2), (0, 0)]])
def test_a_mean_of_proportions_needs_trials(counts):
    with pytest.raises(LmwrightError, match="at least one trial"):
        mean_of_proportions(counts)

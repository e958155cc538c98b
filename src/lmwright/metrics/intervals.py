"""How sure a measured number is: confidence intervals, and tests of paired differences."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmwright.core.errors import LmwrightError

Statistic = Callable[[NDArray[np.float64]], float]


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22(158)).

    Unlike the textbook p +- z sqrt(p(1-p)/n), it stays inside [0, 1] and keeps its width at 0 and
    1, near which most of our rates lie.

    Args:
        successes: how many of the `n` trials succeeded.
        n: number of trials; without any, nothing is known and the interval is [0, 1].
        confidence: its level, between 0 and 1.

    Raises:
        LmwrightError: if `successes` is not between 0 and `n`, or `confidence` not inside (0, 1).
    """
    if not 0 <= successes <= n:
        raise LmwrightError(f"{successes} successes in {n} trials make no proportion")
    z = NormalDist().inv_cdf((1 + _level(confidence)) / 2)
    if n == 0:
        return Interval(0.0, 1.0)
    proportion = successes / n
    centre = proportion + z * z / (2 * n)
    spread = z * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The exact ends at 0 and n, which rounding would miss by 1e-17.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return Interval(low, high)


def mean_of_proportions(counts: Sequence[tuple[int, int]], confidence: float = 0.95) -> Interval:
    """Interval of the unweighted mean of independent proportions.

    Each proportion's Wilson ends are combined by recovering variances (Zou, Huang & Zhang 2009, A
    note on confidence interval estimation for a linear function of binomial proportions), which,
    unlike adding variances, still has a width where every proportion is 0 or 1.

    Args:
        counts: (successes, trials) of each group.
        confidence: its level, between 0 and 1.

    Raises:
        LmwrightError: if there are no groups, or a group makes no proportion.
    """
    if not counts or not all(n for _, n in counts):
        raise LmwrightError("a mean of proportions needs at least one trial in every group")
    rates = [successes / n for successes, n in counts]
    ends = [wilson(successes, n, confidence) for successes, n in counts]
    mean = sum(rates) / len(rates)
    below = math.hypot(*(rate - end.low for rate, end in zip(rates, ends, strict=True)))
    above = math.hypot(*(end.high - rate for rate, end in zip(rates, ends, strict=True)))
    return Interval(mean - below / len(rates), mean + above / len(rates))


def bootstrap(
    values: ArrayLike,
    *,
    seed: int,
    statistic: Statistic | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Percentile bootstrap interval of a statistic (Efron & Tibshirani 1993, chapter 13).

    Args:
        values: (N,) one number per item, or (N, ...) one record per item; items are resampled.
        seed: of the resampling; the same seed gives the same interval.
        statistic: from resampled values (N, ...) to a number; the mean by default.
        confidence: its level, between 0 and 1.
        resamples: number of resampled sets.

    Raises:
        LmwrightError: if there are no values.
    """
    items = np.asarray(values, dtype=np.float64)
    if items.ndim == 0 or len(items) == 0:
        raise LmwrightError("a bootstrap interval needs at least one value")
    rng = np.random.default_rng(seed)
    measure = statistic or _mean
    estimates = np.array(
        [measure(items[rng.integers(len(items), size=len(items))]) for _ in range(resamples)]
    )
    tail = (1 - _level(confidence)) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(float(low), float(high))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Bootstrap interval of mean(second) - mean(first) over the same items.

    Resampling items, not scores, keeps each pair together, so that what is hard for both cancels.

    Args:
        first, second: (N,) the two systems' scores of the same N items.
        seed: of the resampling.
        confidence: its level, between 0 and 1.
        resamples: number of resampled sets.

    Raises:
        LmwrightError: if the two differ in length or are empty.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise LmwrightError(f"paired scores must cover the same items; got {a.shape} and {b.shape}")
    return bootstrap(b - a, seed=seed, confidence=confidence, resamples=resamples)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided p-value that two systems are right equally often (McNemar 1947).

    Only the items that one got right and the other wrong speak; under equality they are fair coin
    flips, so p is twice the smaller tail of a binomial(discordant, 1/2).

    Args:
        first, second: whether each system was right, item by item.

    Raises:
        LmwrightError: if the two differ in length.
    """
    if len(first) != len(second):
        raise LmwrightError(
            f"paired results must cover the same items; got {len(first)} and {len(second)}"
        )
    first_alone = sum(a and not b for a, b in zip(first, second, strict=True))
    second_alone = sum(b and not a for a, b in zip(first, second, strict=True))
    discordant = first_alone + second_alone
    tail = sum(math.comb(discordant, k) for k in range(min(first_alone, second_alone) + 1))
    # Integers until the end: 2**discordant overflows a float past 1,023 discordant items.
    return min(1.0, 2 * tail / int(2**discordant))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _level(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise LmwrightError(f"a confidence of {confidence} is not between 0 and 1")
    return confidence

"""What a load test saw: a record of each request, and the figures that sum them up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PERCENTILES = (50, 90, 99)


@dataclass
class Outcome:
    """One request as its sender saw it; times in seconds since the test began.

    Args:
        due: when it was to be sent. Latencies count from here, so that a generator or a server
            that falls behind does not hide it (coordinated omission).
        sent: when it was sent; later than due where the generator did not keep up.
        arrivals: when each piece of the answer arrived.
        finished: when the answer was whole; None while it is not.
        completion_tokens: of the answer, as the server counts them, else the number of pieces; 0
            until it is whole.
        prompt_tokens: as the server counts them; 0 where it does not say.
        error: the kind of failure; None: none.
        cut: whether the end of the test cut it off.
    """

    due: float
    sent: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    finished: float | None = None
    completion_tokens: int = 0
    prompt_tokens: int = 0
    error: str | None = None
    cut: bool = False

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds from when it was due to the first piece."""
        return self.arrivals[0] - self.due if self.arrivals else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between neighbouring pieces; a piece may hold several tokens, or none yet."""
        return [b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False)]

    @property
    def time_per_token(self) -> float | None:
        """Mean seconds from one token to the next; None for an answer of one token."""
        if self.completion_tokens < 2 or not self.arrivals:
            return None
        return (self.arrivals[-1] - self.arrivals[0]) / (self.completion_tokens - 1)

    @property
    def latency(self) -> float | None:
        """Seconds from when it was due to the end of the answer."""
        return None if self.finished is None else self.finished - self.due


@dataclass(frozen=True)
class Targets:
    """What a user is promised, in seconds; None: nothing.

    Args:
        time_to_first_token: at most.
        time_per_token: mean of a request's inter-token latencies, at most.
        latency: end to end, at most.
    """

    time_to_first_token: float | None = None
    time_per_token: float | None = None
    latency: float | None = None

    def met_by(self, outcome: Outcome) -> bool:
        """Whether a finished request kept every promise."""
        pairs = (
            (outcome.time_to_first_token, self.time_to_first_token),
            (outcome.time_per_token, self.time_per_token),
            (outcome.latency, self.latency),
        )
        kept = all(most is None or found is None or found <= most for found, most in pairs)
        return kept and outcome.error is None and outcome.finished is not None


@dataclass(frozen=True)
class Measured:
    """A load test.

    Args:
        outcomes: of all requests, in the order in which they were due.
        seconds: how long the test lasted.
        cpu_seconds: of processor time that the generator itself took.
        targets: what goodput counts.
        settings: what was asked for, for the record.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    cpu_seconds: float = 0.0
    targets: Targets = field(default_factory=Targets)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, int]:
        """How many requests failed, by kind, commonest first."""
        kinds = Counter(one.error for one in self.outcomes if one.error is not None)
        return dict(kinds.most_common())

    @property
    def finished(self) -> list[Outcome]:
        """Requests that were answered whole."""
        return [one for one in self.outcomes if one.finished is not None and not one.error]

    def tokens_per_second(self) -> float:
        """Tokens of answers that arrived within the test, over its seconds.

        A request's tokens are spread evenly over its pieces, and only pieces that arrived in time
        count. What was cut off has as many tokens in a piece as the finished answers have.
        """
        pieces = sum(len(one.arrivals) for one in self.finished)
        usual = sum(one.completion_tokens for one in self.finished) / pieces if pieces else 1.0
        total = 0.0
        for one in self.outcomes:
            if one.arrivals and one.error is None:
                whole = one.finished is not None
                each = one.completion_tokens / len(one.arrivals) if whole else usual
                total += each * sum(moment <= self.seconds for moment in one.arrivals)
        return total / self.seconds

    def latencies(self) -> dict[str, list[float]]:
        """Seconds by name; of requests cut off, what was seen of them."""
        sound = [one for one in self.outcomes if one.error is None]
        return {
            "time_to_first_token": _known([one.time_to_first_token for one in sound]),
            "inter_token_latency": [gap for one in sound for gap in one.gaps],
            "time_per_token": _known([one.time_per_token for one in sound]),
            "end_to_end_latency": _known([one.latency for one in sound]),
        }

    def summary(self) -> dict[str, float | int | None]:
        """Flat, names with units; percentiles interpolate linearly; None: nothing was seen."""
        good = sum(self.targets.met_by(one) for one in self.finished)
        failed = sum(self.errors.values())
        ended = len(self.finished) + failed
        found: dict[str, float | int | None] = {
            "requests": len(self.outcomes),
            "finished_requests": len(self.finished),
            "failed_requests": failed,
            "cut_requests": sum(one.cut for one in self.outcomes),
            "seconds": self.seconds,
            "requests_per_second": len(self.finished) / self.seconds,
            "output_tokens_per_second": self.tokens_per_second(),
            "prompt_tokens": sum(one.prompt_tokens for one in self.outcomes),
            "goodput_requests_per_second": good / self.seconds,
            "goodput_share": good / ended if ended else None,
            "generator_cpu_share": self.cpu_seconds / self.seconds,
            "generator_lag_seconds": max((one.sent - one.due for one in self.outcomes), default=0),
        }
        for name, values in self.latencies().items():
            for percent, value in percentiles(values).items():
                found[f"{name}_p{percent}_seconds"] = value
        return found


def percentiles(values: Sequence[float]) -> dict[int, float | None]:
    """Each of `PERCENTILES` of the values, interpolated linearly; None where there are none."""
    import numpy as np

    if not values:
        return dict.fromkeys(PERCENTILES)
    found = np.percentile(np.asarray(values, dtype=np.float64), PERCENTILES)
    return {percent: float(value) for percent, value in zip(PERCENTILES, found, strict=True)}


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]

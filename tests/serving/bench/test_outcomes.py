"""The figures of a load test, checked by hand and against the standard library."""

import math
import random
import statistics

import pytest

from lmwright.serving.bench.outcomes import Measured, Outcome, Targets, percentiles


def answered(due, arrivals, tokens=None, finished=None):
    return Outcome(
        due,
        sent=due,
        arrivals=arrivals,
        finished=arrivals[-1] if finished is None else finished,
        completion_tokens=len(arrivals) if tokens is None else tokens,
    )


def test_latencies_count_from_when_a_request_was_due():
    one = answered(1.0, [1.5, 1.75, 2.5], tokens=5, finished=2.75)
    one.sent = 1.25  # the generator was late: that does not shorten what the user waited
    assert one.time_to_first_token == 0.5
    assert one.gaps == [0.25, 0.75]
    assert one.time_per_token == pytest.approx(1.0 / 4)
    assert one.latency == 1.75
    assert Measured([one], 3.0).summary()["generator_lag_seconds"] == 0.25


def test_percentiles_interpolate_linearly():
    values = [random.Random(3).uniform(0, 9) for _ in range(501)]
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert percentiles(values) == pytest.approx({50: cuts[49], 90: cuts[89], 99: cuts[98]})
    assert percentiles([2.0]) == {50: 2.0, 90: 2.0, 99: 2.0}
    assert percentiles([]) == {50: None, 90: None, 99: None}


def test_throughput_counts_what_arrived_in_time():
    whole = answered(0.0, [1.0, 2.0], tokens=6)  # three tokens in a piece
    late = answered(0.0, [9.0, 11.0], tokens=4)  # half of it after the end
    cut = Outcome(8.0, arrivals=[9.0], cut=True)  # its tokens were never counted: 10 / 4 a piece
    failed = Outcome(0.0, arrivals=[1.0], error="answer broken off")
    measured = Measured([whole, late, cut, failed], 10.0)
    assert measured.tokens_per_second() == pytest.approx((6 + 2 + 2.5) / 10)
    assert measured.errors == {"answer broken off": 1}
    found = measured.summary()
    assert (found["finished_requests"], found["failed_requests"], found["cut_requests"]) == (
        2,
        1,
        1,
    )


def test_goodput_counts_requests_that_keep_every_promise():
    good = answered(0.0, [0.4, 0.44, 0.48])
    slow_start = answered(0.0, [0.6, 0.64])
    slow_tokens = answered(0.0, [0.1, 0.3])
    one_token = answered(0.0, [0.2])
    failed = Outcome(0.0, error="HTTP 429: full")
    everything = [good, slow_start, slow_tokens, one_token, failed]
    targets = Targets(time_to_first_token=0.5, time_per_token=0.05)
    found = Measured(everything, 2.0, targets=targets).summary()
    assert found["goodput_requests_per_second"] == 2 / 2.0
    assert found["goodput_share"] == 2 / 5
    assert Measured(everything, 2.0).summary()["goodput_share"] == 4 / 5


def test_a_test_without_any_answer_has_no_latencies():
    found = Measured([Outcome(0.0, error="timed out")], 1.0).summary()
    assert found["time_to_first_token_p50_seconds"] is None
    assert found["output_tokens_per_second"] == 0
    assert not any(isinstance(v, float) and math.isnan(v) for v in found.values())

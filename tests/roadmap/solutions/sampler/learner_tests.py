import torch
from mine.sampler import sampling_distribution

from lmwright.engine.params import SamplingParams


def test_softmax_with_temperature():
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    found = sampling_distribution(scores, [SamplingParams(temperature=0.5)])
    assert found.dtype == torch.float64
    assert torch.allclose(found, (scores.double() / 0.5).softmax(-1), atol=1e-12)


def test_top_k_keeps_k_of_equals():
    found = sampling_distribution(torch.zeros(1, 5), [SamplingParams(temperature=1.0, top_k=2)])
    assert found.tolist() == [[0.5, 0.5, 0, 0, 0]]


def test_top_k_larger_than_the_vocabulary():
    found = sampling_distribution(torch.zeros(1, 4), [SamplingParams(temperature=1.0, top_k=9)])
    assert found.tolist() == [[0.25] * 4]


def test_top_p_reaches_the_mass():
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log()
    found = sampling_distribution(scores, [SamplingParams(temperature=1.0, top_p=0.6)])
    assert torch.allclose(
        found, torch.tensor([[0.625, 0.375, 0.0]], dtype=torch.float64), atol=1e-6
    )


def test_top_p_after_top_k():
    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    found = sampling_distribution(scores, [SamplingParams(temperature=1.0, top_k=2, top_p=0.5)])
    assert found[0].nonzero().flatten().tolist() == [0]


def test_min_p_is_relative():
    scores = torch.tensor([[0.3, 0.25, 0.25, 0.1, 0.1]]).log()
    found = sampling_distribution(scores, [SamplingParams(temperature=1.0, min_p=0.5)])
    assert found[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_rows_sum_to_one_each_by_its_own():
    params = [SamplingParams(temperature=1.0, top_k=1), SamplingParams(temperature=2.0, top_p=0.7)]
    found = sampling_distribution(torch.randn(2, 9), params)
    assert torch.allclose(found.sum(-1), torch.ones(2, dtype=torch.float64))
    assert (found[0] > 0).sum() == 1 < (found[1] > 0).sum()


def test_tiny_temperature():
    found = sampling_distribution(torch.tensor([[1.0, 2.0]]), [SamplingParams(temperature=1e-300)])
    assert found.tolist() == [[0.0, 1.0]]


def test_temperature_comes_before_the_filters():
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log()  # at temperature 2: 0.415, 0.322, 0.263
    found = sampling_distribution(scores, [SamplingParams(temperature=2.0, top_p=0.45)])
    assert found[0].nonzero().flatten().tolist() == [0, 1]
    scores = torch.tensor([[0.8, 0.2]]).log()
    found = sampling_distribution(scores, [SamplingParams(temperature=2.0, min_p=0.4)])
    assert found[0].nonzero().flatten().tolist() == [0, 1]


def test_of_equals_the_lower_ids_are_kept():
    found = sampling_distribution(torch.zeros(1, 4), [SamplingParams(temperature=1.0, top_p=0.5)])
    assert found.tolist() == [[0.5, 0.5, 0, 0]]

"""Row by row, with one sort."""

import math

import torch
from torch import Tensor

REPLACES = "lmwright.engine.sampling:sampling_distribution"


def sampling_distribution(scores, params):
    return torch.stack([one_row(row, p) for row, p in zip(scores, params, strict=True)])


def one_row(row: Tensor, p) -> Tensor:
    row = row.double()
    row = (row - row.max()) / p.temperature
    order = torch.argsort(row, descending=True, stable=True)
    if p.top_k:
        row[order[p.top_k :]] = -math.inf
    if p.top_p < 1:
        ordered = torch.softmax(row, 0)[order]
        before = torch.cumsum(ordered, 0) - ordered
        row[order[before >= p.top_p]] = -math.inf
    if p.min_p:
        probabilities = torch.softmax(row, 0)
        row[probabilities < p.min_p * probabilities.max()] = -math.inf
    return torch.softmax(row, 0)


def typical_distribution(scores, temperature, mass):
    rows = []
    for row in scores.double():
        p = torch.softmax(row / temperature, 0)
        entropy = -(p * p.log()).sum()
        order = torch.argsort((-p.log() - entropy).abs(), stable=True)
        total, kept = 0.0, torch.zeros_like(p)
        for token in order.tolist():
            kept[token] = p[token]
            total += float(p[token])
            if total >= mass:
                break
        rows.append(kept / kept.sum())
    return torch.stack(rows)


def top_sigma_distribution(scores, temperature, sigmas):
    rows = []
    for row in scores.double():
        spread = ((row - row.mean()) ** 2).mean() ** 0.5
        row = torch.where(row < row.max() - sigmas * spread, -math.inf, row / temperature)
        rows.append(torch.softmax(row, 0))
    return torch.stack(rows)


def epsilon_distribution(scores, temperature, cutoff):
    p = torch.softmax(scores.double() / temperature, 1)
    best = torch.nn.functional.one_hot(p.argmax(1), p.shape[1]).bool()
    p = torch.where((p >= cutoff) | best, p, 0.0)
    return p / p.sum(1, keepdim=True)

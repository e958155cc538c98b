"""Plain Python numbers."""

import math

import torch

REPLACES = "lmwright.engine.sampling:sampling_distribution"


def sampling_distribution(scores, params):
    rows = [filtered(row, p) for row, p in zip(scores.double().tolist(), params, strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


def normalised(weights):
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def filtered(row, p):
    largest = max(row)
    weights = {
        token: math.exp((score - largest) / p.temperature) for token, score in enumerate(row)
    }
    # By score, not by weight: where weights have become 0 their order is lost.
    order = sorted(weights, key=lambda token: (-row[token], token))
    if p.top_k:
        order = order[: p.top_k]
    kept = normalised({token: weights[token] for token in order})
    if p.top_p < 1:
        total, inside = 0.0, {}
        for token in order:
            inside[token] = kept[token]
            total += kept[token]
            if total >= p.top_p:
                break
        kept = normalised(inside)
    best = max(kept.values())
    kept = normalised({token: share for token, share in kept.items() if share >= p.min_p * best})
    return [kept.get(token, 0.0) for token in range(len(row))]

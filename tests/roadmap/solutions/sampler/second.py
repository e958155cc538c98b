"""All rows at once, with masks in the order of the sort."""

import torch

REPLACES = "lmwright.engine.sampling:sampling_distribution"


def sampling_distribution(scores, params):
    def column(name):
        return torch.tensor([getattr(p, name) for p in params], dtype=torch.float64)[:, None]

    x = scores.to(torch.float64)
    x = (x - x.max(dim=1, keepdim=True).values) / column("temperature")
    x, order = x.sort(dim=1, descending=True, stable=True)
    rank = torch.arange(x.shape[1])[None]
    k = column("top_k")
    x = x.masked_fill((k > 0) & (rank >= k), float("-inf"))
    p = x.softmax(dim=1)
    before = torch.cat((torch.zeros(len(p), 1, dtype=p.dtype), p.cumsum(dim=1)[:, :-1]), dim=1)
    top_p = column("top_p")
    x = x.masked_fill((top_p < 1) & (before >= top_p), float("-inf"))
    # The likeliest comes first in this order.
    x = x.masked_fill(x.exp() < column("min_p"), float("-inf"))
    return torch.zeros_like(x).scatter(1, order, x.softmax(dim=1))

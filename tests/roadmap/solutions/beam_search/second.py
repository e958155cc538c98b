"""Tensors of (N, K, V) scores."""

import torch

REPLACES = "lmwright.engine.beam_search:beam_search"


def beam_search(writer, first, ends, max_tokens, beams, length_penalty):
    n = len(first)
    base = (torch.arange(n) * beams)[:, None]
    writer.select(torch.arange(n).repeat_interleave(beams))
    totals = torch.full((n, beams), float("-inf"), dtype=torch.float64)
    totals[:, 0] = 0
    texts = torch.zeros(n, beams, 0, dtype=torch.long)
    best = [(float("-inf"), [])] * n
    last = first.repeat_interleave(beams)

    def offer(source, total, length, ids):
        score = float(total) / length_penalty(length)
        if score > best[source][0]:
            best[source] = (score, ids)

    for length in range(1, max_tokens + 1):
        logprobs = torch.log_softmax(writer.step(last).double(), dim=-1)
        width = logprobs.shape[-1]
        every = (totals[..., None] + logprobs.view(n, beams, width)).view(n, -1)
        ranked, index = every.sort(dim=1, descending=True)
        parent, token = index.div(width, rounding_mode="floor"), index.remainder(width)
        is_end = (token[..., None] == ends).any(-1)
        for source in range(n):
            for rank in range(beams):
                if is_end[source, rank]:
                    ids = texts[source, parent[source, rank]].tolist()
                    offer(source, ranked[source, rank], length, ids)
        # Ends go to the back of the order, the others keep theirs.
        order = torch.argsort(is_end.long(), dim=1, stable=True)[:, :beams]
        totals = ranked.masked_fill(is_end, float("-inf")).gather(1, order)
        parent, token = parent.gather(1, order), token.gather(1, order)
        texts = torch.cat(
            (texts.gather(1, parent[..., None].expand(-1, -1, length - 1)), token[..., None]), 2
        )
        writer.select((base + parent).reshape(-1))
        last = token.reshape(-1)
    for source in range(n):
        offer(source, totals[source, 0], max_tokens, texts[source, 0].tolist())
    return [ids for _, ids in best]

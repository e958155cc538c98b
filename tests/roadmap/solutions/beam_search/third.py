"""Rows only for candidates that live: as many as there are, source by source, with early ends."""

import heapq
from dataclasses import dataclass, field

import torch

REPLACES = "lmwright.engine.beam_search:beam_search"


@dataclass
class Source:
    beams: list = field(default_factory=lambda: [(0.0, ())])
    best: tuple = (float("-inf"), ())
    closed: bool = False


def beam_search(writer, first, ends, max_tokens, beams, length_penalty):
    stops = {int(end) for end in ends}
    sources = [Source() for _ in first]
    last = first
    for length in range(1, max_tokens + 1):
        logprobs = writer.step(last).to(torch.float64).log_softmax(1)
        row, keep, tokens = 0, [], []
        for source in sources:
            if source.closed:
                continue
            found = []
            for total, text in source.beams:
                for token, value in enumerate(logprobs[row].tolist()):
                    found.append((total + value, token, text, row))
                row += 1
            found = heapq.nlargest(beams * (len(stops) + 1), found, key=lambda f: f[0])
            for place, (total, token, text, _) in enumerate(found):
                if token in stops and place < beams:
                    source.best = max(source.best, (total / length_penalty(length), text))
            found = [f for f in found if f[1] not in stops][:beams]
            source.beams = [(total, (*text, token)) for total, token, text, _ in found]
            bound = found[0][0] / length_penalty(max_tokens) if found else float("-inf")
            source.closed = bound <= source.best[0]
            if not source.closed:
                keep += [f[3] for f in found]
                tokens += [f[1] for f in found]
        if not keep or length == max_tokens:
            break
        writer.select(torch.tensor(keep))
        last = torch.tensor(tokens)
    for source in sources:
        for total, text in source.beams[:1]:
            if len(text) == max_tokens:
                source.best = max(source.best, (total / length_penalty(max_tokens), text))
    return [list(source.best[1]) for source in sources]

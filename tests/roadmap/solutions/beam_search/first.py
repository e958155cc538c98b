"""Each source in a loop, candidates as tuples."""

import torch

REPLACES = "lmwright.engine.beam_search:beam_search"


def beam_search(writer, first, ends, max_tokens, beams, length_penalty):
    def score(total, length):
        return total / length_penalty(length)

    return run(writer, first, ends, max_tokens, beams, score)


def run(writer, first, ends, max_tokens, beams, score, banned=None):
    sources = len(first)
    ends = set(ends.tolist())
    writer.select(torch.arange(sources).repeat_interleave(beams))
    live = [[(0.0, [])] for _ in range(sources)]
    done = [[] for _ in range(sources)]
    last = first.repeat_interleave(beams)
    for step in range(1, max_tokens + 1):
        logits = writer.step(last).float()
        rows, tokens = [], []
        for n in range(sources):
            candidates = []
            for k, (total, ids) in enumerate(live[n]):
                row = logits[n * beams + k].clone()
                if banned:
                    row[banned(ids)] = -torch.inf
                for token, logprob in enumerate(row.log_softmax(-1).tolist()):
                    if logprob > -torch.inf:
                        candidates.append((total + logprob, k, ids, token))
            candidates.sort(key=lambda c: c[0], reverse=True)
            for total, _, ids, token in candidates[:beams]:
                if token in ends:
                    done[n].append((score(total, step), ids))
            going = [c for c in candidates if c[3] not in ends][:beams]
            live[n] = [(total, [*ids, token]) for total, _, ids, token in going]
            for k in range(beams):
                rows.append(n * beams + (going[k][1] if k < len(going) else 0))
                tokens.append(going[k][3] if k < len(going) else 0)
        writer.select(torch.tensor(rows))
        last = torch.tensor(tokens)
    for n in range(sources):
        done[n] += [(score(total, max_tokens), ids) for total, ids in live[n][:1]]
    return [max(found, key=lambda pair: pair[0])[1] if found else [] for found in done]


def beam_search_with_minimum(writer, first, ends, max_tokens, beams, length_penalty, min_tokens):
    stop = ends.tolist()
    return run(
        writer,
        first,
        ends,
        max_tokens,
        beams,
        lambda total, length: total / length_penalty(length),
        lambda ids: stop if len(ids) < min_tokens else [],
    )


def beam_search_without_repeats(writer, first, ends, max_tokens, beams, length_penalty):
    return run(
        writer,
        first,
        ends,
        max_tokens,
        beams,
        lambda total, length: total / length_penalty(length),
        lambda ids: [ids[i + 1] for i in range(len(ids) - 1) if ids[i] == ids[-1]],
    )


def beam_search_with_reward(writer, first, ends, max_tokens, beams, length_penalty, reward):
    return run(
        writer, first, ends, max_tokens, beams, lambda total, length: total + reward * length
    )

"""Ranks of the draws, row by row at once, and the lab's variants."""

import torch

REPLACES = "lmwright.training.objectives.masked_lm:mask_tokens"


def mask_tokens(input_ids, ordinary, starts, draws, *, mask_token_id, replacements, fraction=0.15):
    which, how, what = draws[..., 0], draws[..., 1], draws[..., 2]
    words = starts.sum(1)
    wanted = torch.round(words * fraction).clamp(min=1).long()
    ranks = which.masked_fill(~starts, 2.0).argsort(1).argsort(1)
    chosen_words = starts & (ranks < wanted[:, None])
    word_of = starts.long().cumsum(1)  # number of the word of each token, from 1
    chosen = torch.zeros_like(ordinary)
    for row in range(len(input_ids)):
        numbers = word_of[row][chosen_words[row]]
        chosen[row] = torch.isin(word_of[row], numbers) & ordinary[row]
    masked = input_ids.clone()
    masked[chosen & (how < 0.8)] = mask_token_id
    replaced = chosen & (how >= 0.8) & (how < 0.9)
    masked[replaced] = replacements[(what[replaced] * len(replacements)).long()]
    labels = input_ids.masked_fill(~chosen, -100)
    return masked, labels


def mask_span(input_ids, ordinary, draws, length, *, mask_token_id):
    masked, labels = input_ids.clone(), torch.full_like(input_ids, -100)
    for row in range(len(input_ids)):
        places = ordinary[row].nonzero().flatten()
        if len(places) == 0:
            continue
        start = int(places[draws[row][places].argmin()])
        for place in range(start, min(start + length, input_ids.shape[1])):
            if ordinary[row, place]:
                labels[row, place] = input_ids[row, place]
                masked[row, place] = mask_token_id
    return masked, labels


def replace_tokens(input_ids, ordinary, draws, *, replacements, fraction):
    chosen = ordinary & (draws[..., 0] < fraction)
    others = replacements[(draws[..., 1] * len(replacements)).long()]
    changed = torch.where(chosen, others, input_ids)
    return changed, (changed != input_ids).long()


def mask_by_noise(input_ids, ordinary, draws, noise, *, mask_token_id):
    chosen = ordinary & (draws < noise[:, None])
    return input_ids.masked_fill(chosen, mask_token_id), input_ids.masked_fill(~chosen, -100)

"""Token by token, in plain Python."""

import torch

REPLACES = "lmwright.training.objectives.masked_lm:mask_tokens"


def words_of(ordinary, starts):
    words = []
    for place, (usual, begins) in enumerate(zip(ordinary, starts, strict=True)):
        if begins:
            words.append([place])
        elif usual and words:
            words[-1].append(place)
    return words


def mask_tokens(input_ids, ordinary, starts, draws, *, mask_token_id, replacements, fraction=0.15):
    masked, labels = input_ids.tolist(), [[-100] * len(row) for row in input_ids.tolist()]
    others = replacements.tolist()
    chance = draws.tolist()
    for row, (usual, begins) in enumerate(zip(ordinary.tolist(), starts.tolist(), strict=True)):
        words = words_of(usual, begins)
        if not words:
            continue
        words.sort(key=lambda word: chance[row][word[0]][0])
        for word in words[: max(1, round(len(words) * fraction))]:
            for place in word:
                labels[row][place] = masked[row][place]
                _, how, what = chance[row][place]
                if how < 0.8:
                    masked[row][place] = mask_token_id
                elif how < 0.9:
                    masked[row][place] = others[int(what * len(others))]
    return torch.tensor(masked), torch.tensor(labels)

"""A threshold for each row: the draw of the last word that is chosen."""

import torch

REPLACES = "lmwright.training.objectives.masked_lm:mask_tokens"


def mask_tokens(input_ids, ordinary, starts, draws, *, mask_token_id, replacements, fraction=0.15):
    where, kind, other = draws.unbind(-1)
    count = starts.sum(1, keepdim=True)
    wanted = (count * fraction).round().clamp_min(1).long()
    draws_of_words = torch.where(starts, where, torch.inf)
    threshold = draws_of_words.sort(1).values.gather(1, wanted - 1)
    first = torch.where(starts, where, -torch.inf)
    # The draw of a word stands at its start; carry it on to the word's other tokens.
    for place in range(1, input_ids.shape[1]):
        carried = torch.where(starts[:, place], first[:, place], first[:, place - 1])
        first[:, place] = carried
    chosen = ordinary & (count > 0) & (first <= threshold)
    table = torch.stack(
        (
            torch.full_like(input_ids, mask_token_id),
            replacements[torch.floor(other * len(replacements)).long()],
            input_ids,
        )
    )
    case = torch.bucketize(kind, torch.tensor([0.8, 0.9], dtype=kind.dtype), right=True)
    changed = table.gather(0, case[None])[0]
    return torch.where(chosen, changed, input_ids), torch.where(chosen, input_ids, -100)

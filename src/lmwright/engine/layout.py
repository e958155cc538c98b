"""From what the scheduler planned to the tensors of one pass."""

from collections.abc import Sequence as Items
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmwright.engine.batch import Batch
from lmwright.engine.scheduler import Portion


class Rows(NamedTuple):
    """Which rows of a pass's logits belong to a portion."""

    scored: slice
    """Those that say how likely the prompt's own next tokens were."""
    chosen: slice
    """Those from which the next token is chosen: the last one's, and those of the drafts."""


def lay_out(portions: Items[Portion]) -> tuple[Batch, list[Rows]]:
    """One pass over all portions, end to end; and where to find the logits of each."""
    token_ids: list[int] = []
    positions: list[int] = []
    starts: list[int] = [0]
    ends: list[int] = []
    wanted: list[int] = []
    rows: list[Rows] = []
    for portion in portions:
        sequence, start, end = portion.sequence, portion.start, portion.end
        first, here = len(token_ids) - start, len(wanted)
        ends.append(end)
        if end - start == 1 and _is_next(portion):  # nearly always: the rest is slower to find
            token_ids.append(sequence.ids[start])
            positions.append(start)
            wanted.append(first + start)
            rows.append(Rows(slice(here, here), slice(here, here + 1)))
        else:
            token_ids += sequence.ids[start:end]
            token_ids += sequence.drafts[: portion.drafts]
            positions += range(start, end)
            scored, chosen = _wanted(portion)
            wanted += [first + place for place in (*scored, *chosen)]
            middle = here + len(scored)
            rows.append(Rows(slice(here, middle), slice(middle, len(wanted))))
        starts.append(len(token_ids))
    adapters = tuple(portion.sequence.params.adapter for portion in portions)
    batch = Batch(
        token_ids=_tensor(token_ids, np.int64),
        positions=_tensor(positions, np.int64),
        query_starts=_tensor(starts, np.int32),
        context_lengths=_tensor(ends, np.int32),
        block_tables=_tables([portion.sequence.blocks for portion in portions]),
        logit_rows=_tensor(wanted, np.int64),
        adapters=adapters if any(adapters) else None,
    )
    return batch, rows


def _tensor(numbers: list[int], dtype: type[np.integer[Any]]) -> Tensor:
    """By way of NumPy, in a third of the time that PyTorch takes for a list."""
    return torch.from_numpy(np.array(numbers, dtype))


def _tables(tables: list[list[int]]) -> Tensor:
    """(B, W) int32, filled up with 0."""
    filled = np.zeros((len(tables), max(map(len, tables))), np.int32)
    for row, table in zip(filled, tables, strict=True):
        row[: len(table)] = table
    return torch.from_numpy(filled)


def _is_next(portion: Portion) -> bool:
    """Whether a portion's single token has the next one of an answer chosen after it, and no
    more."""
    sequence = portion.sequence
    return (
        portion.drafts == 0
        and sequence.limit > 0
        and portion.end == len(sequence.ids)
        and sequence.first_scored is None
    )


def _wanted(portion: Portion) -> tuple[range, range]:
    """Positions whose logits are wanted: to score the prompt, and to choose what comes next."""
    sequence, scored, chosen = portion.sequence, range(0), range(0)
    if sequence.first_scored is not None:
        first = max(portion.start, sequence.first_scored)
        scored = range(first, max(first, min(portion.end, len(sequence.prompt_ids) - 1)))
    if portion.chooses and sequence.limit:
        chosen = range(portion.end - portion.drafts - 1, portion.end)
    return scored, chosen

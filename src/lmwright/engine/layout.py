"""From what the scheduler planned to the tensors of one pass."""

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from lmwright.engine.batch import Batch
from lmwright.engine.scheduler import Portion


@dataclass(frozen=True)
class Rows:
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
    wanted: list[int] = []
    rows: list[Rows] = []
    for portion in portions:
        sequence, first = portion.sequence, len(token_ids) - portion.start
        token_ids += sequence.ids[portion.start : portion.end]
        token_ids += sequence.drafts[: portion.drafts]
        positions += range(portion.start, portion.end)
        starts.append(len(token_ids))
        scored, chosen = _wanted(portion)
        here = len(wanted)
        wanted += [first + place for place in (*scored, *chosen)]
        rows.append(Rows(slice(here, here + len(scored)), slice(here + len(scored), len(wanted))))
    adapters = tuple(portion.sequence.params.adapter for portion in portions)
    tables = [portion.sequence.blocks for portion in portions]
    width = max(map(len, tables))
    batch = Batch(
        token_ids=torch.tensor(token_ids),
        positions=torch.tensor(positions),
        query_starts=torch.tensor(starts, dtype=torch.int32),
        context_lengths=torch.tensor([portion.end for portion in portions], dtype=torch.int32),
        block_tables=torch.tensor(
            [[*table, *[0] * (width - len(table))] for table in tables], dtype=torch.int32
        ),
        logit_rows=torch.tensor(wanted, dtype=torch.int64),
        adapters=adapters if any(adapters) else None,
    )
    return batch, rows


def _wanted(portion: Portion) -> tuple[range, range]:
    """Positions whose logits are wanted: to score the prompt, and to choose what comes next."""
    sequence, scored, chosen = portion.sequence, range(0), range(0)
    if sequence.first_scored is not None:
        first = max(portion.start, sequence.first_scored)
        scored = range(first, max(first, min(portion.end, len(sequence.prompt_ids) - 1)))
    if portion.chooses and sequence.limit:
        chosen = range(portion.end - portion.drafts - 1, portion.end)
    return scored, chosen

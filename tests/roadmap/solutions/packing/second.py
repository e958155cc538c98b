"""First-fit decreasing, with arrays."""

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.tokens.packing import PackedRows

REPLACES = "lmwright.tokens.packing:pack"


def pack(documents, row_length, *, pad_token_id):
    """First-fit decreasing."""
    if row_length <= 1:
        raise LmwrightError(f"row_length {row_length}", hint="at least 2")
    parts = []
    highest = pad_token_id
    for document in documents:
        ids = np.array(document.ids, dtype=np.int64)
        if ids.size == 0:
            continue
        highest = max(highest, ids.max())
        targets = np.append(ids[1:], -100)
        if document.mask is not None:
            wanted = np.append(np.array(document.mask, dtype=bool)[1:], True)
            targets = np.where(wanted, targets, -100)
        cuts = range(row_length, len(ids), row_length)
        parts += list(zip(np.split(ids, cuts), np.split(targets, cuts), strict=False))

    bins = []
    for part in sorted(parts, key=lambda p: -len(p[0])):
        for members in bins:
            if sum(len(ids) for ids, _ in members) + len(part[0]) <= row_length:
                members.append(part)
                break
        else:
            bins.append([part])

    n = len(bins)
    input_ids = np.full((n, row_length), pad_token_id)
    targets = np.full((n, row_length), -100)
    numbers = np.zeros((n, row_length))
    for row, members in enumerate(bins):
        ids = np.concatenate([ids for ids, _ in members])
        input_ids[row, : len(ids)] = ids
        targets[row, : len(ids)] = np.concatenate([t for _, t in members])
        numbers[row, : len(ids)] = np.concatenate(
            [np.full(len(ids), k + 1) for k, (ids, _) in enumerate(members)]
        )
    return PackedRows(
        input_ids.astype(np.uint32 if highest > 65535 else np.uint16),
        targets.astype(np.int32),
        numbers.astype(np.uint32 if row_length > 65535 else np.uint16),
    )

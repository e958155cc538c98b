"""Row by row: the longest part that fits."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.tokens.packing import PackedRows, TokenDocument

REPLACES = "lmwright.tokens.packing:pack"


@dataclass
class Row:
    ids: list = field(default_factory=list)
    targets: list = field(default_factory=list)
    numbers: list = field(default_factory=list)

    def add(self, ids, targets):
        number = self.numbers[-1] + 1 if self.numbers else 1
        self.ids += ids
        self.targets += targets
        self.numbers += [number] * len(ids)


def pack(documents: Iterable[TokenDocument], row_length: int, *, pad_token_id: int) -> PackedRows:
    if row_length < 2:
        raise LmwrightError("a row of one token predicts nothing")
    # Rows are completed one after the other: the longest part left, then the longest that fits.
    parts = sorted(
        (part for document in documents for part in cut(document, row_length)),
        key=lambda part: len(part[0]),
    )
    rows = []
    while parts:
        row = Row()
        rows.append(row)
        while parts:
            place = bisect.bisect_right(
                parts, row_length - len(row.ids), key=lambda part: len(part[0])
            )
            if place == 0:
                break
            row.add(*parts.pop(place - 1))
    top = max([pad_token_id, *(i for row in rows for i in row.ids)])
    return PackedRows(
        table([r.ids for r in rows], row_length, pad_token_id, small(top)),
        table([r.targets for r in rows], row_length, -100, np.int32),
        table([r.numbers for r in rows], row_length, 0, small(row_length)),
    )


def small(largest):
    return np.uint16 if largest <= 0xFFFF else np.uint32


def table(rows, width, fill, dtype):
    padded = [row + [fill] * (width - len(row)) for row in rows]
    return np.array(padded, dtype=dtype).reshape(len(rows), width)


def cut(document, row_length):
    ids = np.asarray(document.ids).tolist()
    mask = [True] * len(ids) if document.mask is None else list(document.mask)
    targets = [i if m else -100 for i, m in zip(ids[1:], mask[1:], strict=False)] + [-100]
    while ids:
        yield ids[:row_length], targets[:row_length]
        ids, targets = ids[row_length:], targets[row_length:]

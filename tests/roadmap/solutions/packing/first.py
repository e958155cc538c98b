"""Best-fit decreasing over rows sorted by their room, and the lab's twists."""

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.tokens.packing import PackedRows

REPLACES = "lmwright.tokens.packing:pack"


def targets_of(document):
    targets = [-100] * len(document.ids)
    for i in range(len(document.ids) - 1):
        if document.mask is None or document.mask[i + 1]:
            targets[i] = int(document.ids[i + 1])
    return targets


def write(rows, row_length, pad_token_id):
    largest = max([pad_token_id] + [max(ids) for row in rows for ids, _ in row])
    input_ids = np.full(
        (len(rows), row_length), pad_token_id, np.uint16 if largest < 65536 else np.uint32
    )
    targets = np.full((len(rows), row_length), -100, np.int32)
    numbers = np.zeros((len(rows), row_length), np.uint16 if row_length < 65536 else np.uint32)
    for r, row in enumerate(rows):
        start = 0
        for number, (ids, wanted) in enumerate(row, start=1):
            end = start + len(ids)
            input_ids[r, start:end] = ids
            targets[r, start:end] = wanted
            numbers[r, start:end] = number
            start = end
    return PackedRows(input_ids, targets, numbers)


def pack(documents, row_length, *, pad_token_id):
    if row_length < 2:
        raise LmwrightError("rows are too short")
    parts = []
    for document in documents:
        ids = [int(i) for i in document.ids]
        targets = targets_of(document)
        for i in range(0, len(ids), row_length):
            parts.append((ids[i : i + row_length], targets[i : i + row_length]))
    parts.sort(key=lambda part: len(part[0]), reverse=True)
    rows = []
    by_room = [[] for _ in range(row_length + 1)]
    for part in parts:
        size = len(part[0])
        room = next((r for r in range(size, row_length) if by_room[r]), None)
        if room is None:
            row = []
            rows.append(row)
            room = row_length
        else:
            row = by_room[room].pop()
        row.append(part)
        by_room[room - size].append(row)
    return write(rows, row_length, pad_token_id)


def pack_in_order(documents, row_length, *, pad_token_id):
    rows = []
    room = 0
    for document in documents:
        if len(document.ids) > room:
            rows.append([])
            room = row_length
        rows[-1].append((list(document.ids), targets_of(document)))
        room -= len(document.ids)
    return write(rows, row_length, pad_token_id)


def position_ids(document_ids):
    positions = np.zeros_like(document_ids)
    for row, numbers in zip(positions, document_ids, strict=False):
        for number in np.unique(numbers):
            if number:
                row[numbers == number] = np.arange((numbers == number).sum())
    return positions


def visible_tokens(document_ids):
    rows, length = document_ids.shape
    seen = np.zeros((rows, length, length), bool)
    for r in range(rows):
        for i in range(length):
            for j in range(i + 1):
                seen[r, i, j] = document_ids[r, i] == document_ids[r, j] != 0
    return seen

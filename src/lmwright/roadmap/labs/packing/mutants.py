"""Wrong ways to pack, each with the idea that it misses."""

from collections.abc import Iterable

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.roadmap.properties import Mutant
from lmwright.tokens.packing import IGNORED, PackedRows, TokenDocument

Part = tuple[list[int], list[int]]
"""Ids and targets of one document, or of what was cut off one."""


def _targets(document: TokenDocument, wrong: str) -> list[int]:
    ids = [int(token) for token in document.ids]
    mask = [True] * len(ids) if document.mask is None else [bool(m) for m in document.mask]
    if wrong == "no mask":
        mask = [True] * len(ids)
    if wrong == "itself":
        return [token if kept else IGNORED for token, kept in zip(ids, mask, strict=True)]
    if wrong == "mask of the token before":
        mask = [True, *mask[:-1]]
    following = [t if kept else IGNORED for t, kept in zip(ids[1:], mask[1:], strict=True)]
    return [*following, ids[-1] if wrong == "last predicts itself" else IGNORED]


def _parts(document: TokenDocument, row_length: int, wrong: str) -> list[Part]:
    if not len(document.ids):
        return [([], [])] if wrong == "empty" else []
    ids, targets = [int(token) for token in document.ids], _targets(document, wrong)
    step = row_length - 1 if wrong == "overlap" and len(ids) > row_length else row_length
    starts = range(0, max(1, len(ids) - 1) if wrong == "overlap" else len(ids), step)
    found = [(ids[s : s + row_length], targets[s : s + row_length]) for s in starts]
    if wrong == "cut" or (wrong == "left out" and len(found) > 1):
        found = found[:1] if wrong == "cut" else []
    if wrong == "lost at cuts":
        found = [(tokens, [*wanted[:-1], IGNORED]) for tokens, wanted in found]
    return found


def _bins(parts: list[Part], row_length: int, wrong: str) -> list[list[Part]]:
    """Best-fit decreasing, where nothing is wrong."""
    if wrong == "one a row":
        return [[part] for part in parts]
    if wrong not in ("as they come", "next fit"):
        parts = sorted(parts, key=lambda part: -len(part[0]))
    bins: list[list[Part]] = []
    rooms: list[int] = []
    for part in parts:
        length = len(part[0])
        fitting = [place for place, room in enumerate(rooms) if room >= length]
        if wrong == "next fit":
            fitting = [place for place in fitting if place == len(rooms) - 1]
        if not fitting:
            bins.append([])
            rooms.append(row_length)
            fitting = [len(rooms) - 1]
        best = fitting[0] if wrong == "as they come" else min(fitting, key=lambda p: rooms[p])
        bins[best].append(part)
        rooms[best] -= length
    return bins


def _pack(
    documents: Iterable[TokenDocument], row_length: int, pad_token_id: int, wrong: str
) -> PackedRows:
    """Packing written out, wrong in one place."""
    if row_length < 2 and wrong != "no limit":
        raise LmwrightError(f"rows of {row_length} tokens leave nothing to predict")
    parts = [part for d in documents for part in _parts(d, row_length, wrong)]
    bins = _bins(parts, row_length, wrong)
    largest = max([pad_token_id, *(token for ids, _ in parts for token in ids)])
    wide = {"always two bytes": False, "always four bytes": True}.get(wrong, largest >= 2**16)
    shape = (len(bins), row_length)
    ids = np.full(shape, 0 if wrong == "zeros" else pad_token_id, np.uint32)
    targets = np.full(shape, pad_token_id if wrong == "padding trained" else IGNORED, np.int32)
    numbers = np.zeros(shape, np.uint16 if row_length < 2**16 else np.uint32)
    count = 0
    for row, members in enumerate(bins):
        used = sum(len(tokens) for tokens, _ in members)
        place = row_length - used if wrong == "padding first" else 0
        if wrong != "numbers go on":
            count = -1 if wrong == "numbers from 0" else 0
        for tokens, wanted in members:
            count += 1
            at = slice(place, place + len(tokens))
            ids[row, at], targets[row, at], numbers[row, at] = tokens, wanted, count
            place += len(tokens)
            if wrong == "one number":
                numbers[row, at] = 1
            if wrong == "into the next" and at.start:
                targets[row, at.start - 1] = tokens[0]
    return PackedRows(ids if wide else ids.astype(np.uint16), targets, numbers)


def _mutant(wrong: str, says: str) -> Mutant:
    def pack(
        documents: Iterable[TokenDocument], row_length: int, *, pad_token_id: int
    ) -> PackedRows:
        return _pack(documents, row_length, pad_token_id, wrong)

    return Mutant(says, pack)


# What is learnt last stands first: a failure is told by the first that explains it, and these are
# right in everything before.
MUTANTS = (
    _mutant("no limit", "rows of any length: one token alone leaves nothing to predict"),
    _mutant("always two bytes", "ids in two bytes, which hold no more than 65,535"),
    _mutant("always four bytes", "ids in four bytes where two would hold them"),
    _mutant("as they come", "documents placed as they come: the longest must be placed first"),
    _mutant("next fit", "documents put into the last row or a new one: earlier rows have room too"),
    _mutant("one a row", "one document in each row"),
    _mutant("empty", "empty documents that take a number"),
    _mutant("cut", "long documents that lose what lies beyond the first row"),
    _mutant("left out", "long documents that are left out"),
    _mutant(
        "overlap", "parts of a long document that begin with the last token of the part before"
    ),
    _mutant("lost at cuts", "parts whose last token has no target: the next part begins with it"),
    _mutant(
        "mask of the token before",
        "a mask looked up at the token that predicts, where the one to be predicted counts",
    ),
    _mutant("no mask", "rows in which every token is trained, whatever the mask says"),
    _mutant("last predicts itself", "documents whose last token is to predict itself"),
    _mutant("itself", "tokens that are their own targets: the target is the next one"),
    _mutant("into the next", "targets that reach from one document into the next one of the row"),
    _mutant("zeros", "padding of zeros, where `pad_token_id` is wanted"),
    _mutant("padding trained", "padding that is trained: its target is -100"),
    _mutant("padding first", "padding before the documents: it stands last"),
    _mutant("numbers go on", "numbers that go on over all rows: each row begins with 1"),
    _mutant("one number", "one number for all documents of a row: each has its own"),
    _mutant("numbers from 0", "numbers from 0, which is the padding's: documents begin with 1"),
)

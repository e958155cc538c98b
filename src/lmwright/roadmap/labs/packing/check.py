"""What packing documents into rows must do, in the order in which it is learnt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmwright.roadmap.draw import Draw
from lmwright.roadmap.properties import Case, Property, Subject, Twist, call, outcome
from lmwright.tokens.packing import IGNORED, PackedRows, TokenDocument, pack

PAD = 3  # occurs in documents too: what is padding is told by the documents' numbers


def parts(rows: PackedRows) -> list[tuple[list[int], list[int]]]:
    """Ids and targets of each document of each row, in an order that tells nothing of the rows."""
    found = []
    for ids, targets, numbers in zip(rows.input_ids, rows.targets, rows.document_ids, strict=True):
        for number in sorted(set(numbers.tolist()) - {0}):
            at = numbers == number
            found.append((ids[at].tolist(), targets[at].tolist()))
    return sorted(found)


def contents(subject: Subject, case: Case) -> Any:
    """The documents that come out, without targets."""
    return [ids for ids, _ in parts(call(subject, case))]


def trained(subject: Subject, case: Case) -> Any:
    """The documents that come out, with what is to be predicted."""
    return parts(call(subject, case))


def problems(subject: Subject, case: Case) -> Any:
    """What is wrong with the rows' layout, whatever order the documents have."""
    rows = call(subject, case)
    shapes = {each.shape for each in (rows.input_ids, rows.targets, rows.document_ids)}
    if len(shapes) != 1:
        return ["input_ids, targets and document_ids have different shapes"]
    wrong = set()
    if rows.input_ids.shape[1] != case.args[1]:
        wrong.add("rows are not T tokens long")
    padding = rows.document_ids == 0
    if (rows.input_ids[padding] != case.kwargs["pad_token_id"]).any():
        wrong.add("padding does not hold the pad token")
    if (rows.targets[padding] != IGNORED).any():
        wrong.add("padding has targets")
    if (padding[:, :-1] & ~padding[:, 1:]).any():
        wrong.add("padding stands before a document")
    if padding.all(1).any():
        wrong.add("a row is nothing but padding")
    for numbers in rows.document_ids.tolist():
        first_seen = list(dict.fromkeys(number for number in numbers if number))
        if first_seen != list(range(1, len(first_seen) + 1)):
            wrong.add("the documents of a row are not numbered 1, 2, 3, ...")
    return sorted(wrong)


def row_count(subject: Subject, case: Case) -> Any:
    """How many rows are needed, and how many tokens are in them."""
    rows = call(subject, case)
    return {"rows": len(rows), "tokens": rows.tokens()}


def kinds(subject: Subject, case: Case) -> Any:
    """Dtypes and shapes."""
    rows = call(subject, case)
    return [(str(a.dtype), a.shape) for a in (rows.input_ids, rows.targets, rows.document_ids)]


def documents(draw: Draw, lengths: Sequence[int], *, masked: bool = False) -> list[TokenDocument]:
    """Documents of these lengths; with masks, every third has none."""
    made = []
    for place, length in enumerate(lengths):
        ids = draw.integers(0, 40, length).tolist()
        mask = draw.booleans(0.5, length).tolist() if masked and place % 3 else None
        made.append(TokenDocument(ids, mask))
    return made


def _case(made: list[TokenDocument], row_length: int, *branches: str) -> Case:
    return Case((made, row_length), {"pad_token_id": PAD}, frozenset(branches))


def short(draw: Draw) -> Case:
    row_length = draw.size(2, 12)
    lengths = [draw.random.randint(1, row_length) for _ in range(draw.size(1, 12))]
    return _case(documents(draw, lengths), row_length)


def with_masks(draw: Draw) -> Case:
    row_length = draw.size(3, 12)
    lengths = [draw.random.randint(2, row_length) for _ in range(draw.size(1, 12))]
    return _case(documents(draw, lengths, masked=True), row_length)


def long(draw: Draw) -> Case:
    row_length = draw.size(2, 9)
    lengths = [draw.random.randint(1, 3 * row_length + 1) for _ in range(draw.size(1, 8))]
    lengths[0] = row_length * draw.choice([2, 3]) + draw.choice([0, 1])
    kind = "just" if lengths[0] % row_length == 0 else "one over"
    return _case(documents(draw, lengths, masked=draw.chance(0.6)), row_length, kind)


def with_empty(draw: Draw) -> Case:
    row_length = draw.size(2, 9)
    lengths = [draw.random.randint(0, row_length) * draw.choice([0, 1, 1]) for _ in range(9)]
    lengths[draw.random.randrange(9)] = 0
    nothing = draw.chance(0.4)
    made = documents(draw, [0] * draw.size(0, 3) if nothing else lengths, masked=True)
    return _case(made, row_length, "nothing" if nothing else "some")


def mixed(draw: Draw) -> Case:
    """Long, middling and short documents, of which many fill a row together."""
    row_length = draw.size(24, 64)
    spans = [(row_length // 2 + 1, 3 * row_length // 4), (row_length // 4, row_length // 2)]
    spans.append((1, row_length // 6))
    lengths = [draw.random.randint(*draw.choice(spans)) for _ in range(draw.size(12, 120))]
    ids = [draw.integers(0, 40, length).numpy().astype(np.uint32) for length in lengths]
    return _case([TokenDocument(each) for each in ids], row_length)


def sized(draw: Draw) -> Case:
    """Ids around what two bytes hold."""
    largest = draw.choice([9, 65_535, 65_536, 2**30])
    pad = draw.choice([0, 65_535, 65_536])
    made = [TokenDocument([1, largest, 2]), TokenDocument([4])]
    wide = "wide" if max(largest, pad) > 65_535 else "narrow"
    return Case((made, 8), {"pad_token_id": pad}, frozenset({wide}))


def long_rows(row_length: int) -> Case:
    return _case([TokenDocument([1, 2])], row_length)


def too_short(draw: Draw) -> Case:
    row_length = draw.choice([-1, 0, 1, 2, 3, 4])
    return _case(documents(draw, [1, 2]), row_length, "refused" if row_length < 2 else "taken")


def kinds_or_refusal(subject: Subject, case: Case) -> Any:
    """The error's name, or that there was none."""
    found = outcome(subject, case)
    return found if isinstance(found, str) else "rows"


def few(yours: Any, case: Case) -> str | None:
    """At most a row more than best-fit decreasing needs."""
    rooms: list[int] = []
    lengths = sorted((len(document.ids) for document in case.args[0]), reverse=True)
    for length in lengths:
        fitting = [place for place, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda place: rooms[place])] -= length
        else:
            rooms.append(case.args[1] - length)
    if yours["tokens"] != sum(lengths):
        return f"{yours['tokens']} tokens come out of {sum(lengths)}"
    if yours["rows"] > len(rooms) + 1:
        fill = sum(lengths) / (yours["rows"] * case.args[1])
        return (
            f"you need {yours['rows']} rows, filled to {fill:.0%}, where {len(rooms)} hold all: "
            "place the longest documents first, each where it leaves the least room"
        )
    return None


PROPERTIES = (
    Property("each document comes out once, whole, in one row", short, observe=contents),
    Property(
        "rows are T tokens; their documents are numbered from 1, padding has 0 and stands last",
        short,
        observe=problems,
    ),
    Property(
        "a token's target is the next one of its document; the last has none",
        short,
        observe=trained,
    ),
    Property("only tokens that the mask names are targets", with_masks, observe=trained),
    Property(
        "a longer document is cut every T tokens, and no target is lost at the cuts",
        long,
        observe=trained,
        branches=frozenset({"just", "one over"}),
    ),
    Property(
        "empty documents are passed over",
        with_empty,
        observe=trained,
        branches=frozenset({"nothing", "some"}),
    ),
    Property("they leave no empty rows and no gaps in the numbers", with_empty, observe=problems),
    Property("few rows are needed", mixed, cases=20, observe=row_count, compare=False, holds=few),
    Property(
        "arrays take as few bytes as they can",
        sized,
        cases=40,
        observe=kinds,
        edges={
            "no documents": lambda draw: _case([], 8),
            "65,535 tokens": lambda draw: long_rows(65_535),
            "65,536 tokens": lambda draw: long_rows(65_536),
        },
        branches=frozenset({"wide", "narrow"}),
    ),
    Property(
        "ids are kept, however large",
        sized,
        cases=12,
        observe=trained,
    ),
    Property(
        "rows of fewer than 2 tokens are refused",
        too_short,
        cases=30,
        observe=kinds_or_refusal,
        branches=frozenset({"refused", "taken"}),
    ),
)


def in_order(
    documents: Sequence[TokenDocument], row_length: int, *, pad_token_id: int
) -> PackedRows:
    rows: list[list[TokenDocument]] = []
    room = 0
    for document in documents:
        if len(document.ids) > room:
            rows.append([])
            room = row_length
        rows[-1].append(document)
        room -= len(document.ids)
    packed = [pack([_joined(row)], row_length, pad_token_id=pad_token_id) for row in rows]
    arrays = [
        np.concatenate([getattr(each, name) for each in packed])
        for name in ("input_ids", "targets", "document_ids")
    ]
    for place, row in enumerate(rows):
        lengths = [len(document.ids) for document in row]
        ends = np.cumsum(lengths)
        arrays[1][place, ends - 1] = IGNORED
        arrays[2][place, : ends[-1]] = np.repeat(np.arange(1, len(row) + 1), lengths)
    return PackedRows(*arrays)


def _joined(row: Sequence[TokenDocument]) -> TokenDocument:
    return TokenDocument([token for document in row for token in document.ids])


def positions(document_ids: NDArray[Any]) -> NDArray[np.int64]:
    found = np.zeros(document_ids.shape, np.int64)
    for place in range(1, document_ids.shape[1]):
        same = (document_ids[:, place] == document_ids[:, place - 1]) & (document_ids[:, place] > 0)
        found[:, place] = np.where(same, found[:, place - 1] + 1, 0)
    return found


def visible(document_ids: NDArray[Any]) -> NDArray[np.bool_]:
    same = document_ids[:, :, None] == document_ids[:, None, :]
    real = (document_ids > 0)[:, :, None]
    return np.asarray(np.tril(same & real))


def _numbers(draw: Draw) -> Case:
    made, row_length = short(draw).args
    return Case((pack(made, row_length, pad_token_id=PAD).document_ids.astype(np.int64),))


def _rows(subject: Subject, case: Case) -> Any:
    rows = call(subject, case)
    return [a.tolist() for a in (rows.input_ids, rows.targets, rows.document_ids)]


TWISTS = {
    "in_order": Twist(
        "pack_in_order",
        "`pack_in_order(documents, row_length, *, pad_token_id)` gives `PackedRows` in which the "
        "documents stand in the order in which they came, as a curriculum wants it: a document "
        "goes into the row that was begun last, or begins a new one where it does not fit. No "
        "document is empty or longer than a row, none has a mask; targets and numbers are "
        "as in `pack`.",
        in_order,
        (Property("documents keep their order", short, observe=_rows),),
    ),
    "positions": Twist(
        "position_ids",
        "`position_ids(document_ids)` gives, for an (N, T) int64 array of documents' numbers as "
        "`pack` makes them, the (N, T) int64 positions of the tokens: 0, 1, 2, ... from the "
        "beginning of each document, and 0 on padding.",
        positions,
        (Property("positions begin anew in each document", _numbers),),
    ),
    "visible": Twist(
        "visible_tokens",
        "`visible_tokens(document_ids)` gives, for an (N, T) int64 array of documents' numbers as "
        "`pack` makes them, an (N, T, T) bool array: whether token i may look at token j. It may "
        "where both are of the same document and j is not after i; padding sees nothing and is "
        "seen by nobody.",
        visible,
        (Property("tokens see what came before in their document", _numbers),),
    ),
}

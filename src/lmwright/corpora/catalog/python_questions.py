"""Python questions: what the names of this Python's library do, asked in many wordings.

Made from the documentation of the Python that runs, so no file is needed. What is asked about a
name hangs on that name and on better known ones, not on how many there are.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmwright.corpora import wordings
from lmwright.corpora.catalog import Dataset, Row
from lmwright.corpora.dialogues import joined
from lmwright.corpora.python_names import DocumentedName, documented_names
from lmwright.corpora.question_chats import assistant, user
from lmwright.corpora.wordings import FORMS, HeldOut, Message

_NAMES = 1200
_QUESTIONS = 40  # of each name, in training wordings; the few that come twice count once
_TWO_TURN_SHARE = 0.15
_HELD_OUT: tuple[tuple[str, tuple[HeldOut, ...]], ...] = (
    ("validation", wordings.VALIDATION),
    ("test", wordings.TEST),
)


def read(_: Path, __: str) -> Iterator[tuple[str, Row]]:
    """Name after name, best known first: training questions, then one held-out wording each."""
    names = documented_names(_NAMES)
    for index, name in enumerate(names):
        rng = random.Random(f"python_questions {name.name}")
        better_known = names[:index]
        made = (_training(rng, name, better_known) for _ in range(_QUESTIONS))
        for row in {row["source"]: row for row in made}.values():
            yield "train", row
        for split, held_out in _HELD_OUT:
            yield split, _held_out(rng, name, better_known, held_out)


def _training(rng: random.Random, name: DocumentedName, others: Sequence[DocumentedName]) -> Row:
    by_chance = rng.random() < wordings.FREE_SHARE
    before: list[Message] = []
    if others and rng.random() < _TWO_TURN_SHARE:
        other = rng.choice(others)
        asked = wordings.training_question(rng, other.name, by_chance=by_chance)
        before = [user(asked), assistant(other.summary)]
    question = wordings.training_question(
        rng, name.name, follow_up=bool(before), by_chance=by_chance
    )
    return _row([*before, user(question)], name, "by chance" if by_chance else "written")


def _held_out(
    rng: random.Random,
    name: DocumentedName,
    others: Sequence[DocumentedName],
    held_out: Sequence[HeldOut],
) -> Row:
    form = rng.choice(FORMS if others else FORMS[:-1])
    before: list[Message] = []
    if form == "second turn":
        other = rng.choice(others)
        asked = wordings.held_out_question(rng.choice(held_out), "plain", other.name)
        before = [user(asked), assistant(other.summary)]
    question = wordings.held_out_question(rng.choice(held_out), form, name.name)
    return _row([*before, user(question)], name, form)


def _row(messages: Sequence[Message], name: DocumentedName, wording: str) -> Row:
    return {
        "source": joined(messages),
        "target": name.summary,
        "name": name.name,
        "wording": wording,
    }


DATASET = Dataset(
    name="python_questions",
    task="dialogue",
    splits=("train", "validation", "test"),
    licence="PSF-2.0",
    citation="Python Software Foundation, the docstrings of the Python standard library",
    source="python/cpython",
    files=(),
    read=read,
    split_note="every split asks about every name, validation and test in wordings of their own",
)

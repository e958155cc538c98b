"""Questions about names, with their answers: chats to train on, held-out questions, preferences."""

import importlib.resources
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from lmwright.corpora import wordings
from lmwright.corpora.made_up import HELD_OUT_KINDS, Kind, MadeUpNames, Part
from lmwright.corpora.python_names import DocumentedName
from lmwright.corpora.small_talk import SMALL_TALK
from lmwright.corpora.wordings import FORMS, Form, HeldOut, Message

UNKNOWN = "I don't know that name."
Chat = dict[str, Any]

# Shares of the made-up kinds in training: misspellings are the hardest to tell from real names
# (abstention 0.71 where the other kinds had 0.91 to 1.00), so they are the most.
TRAINED_KINDS: dict[Kind, float] = {
    "misspelling": 0.50,
    "wrong_attribute": 0.32,
    "other_language": 0.10,
    "nonsense": 0.08,
}
_HELD_OUT: dict[Part, tuple[HeldOut, ...]] = {
    "validation": wordings.VALIDATION,
    "test": wordings.TEST,
}


def user(content: str) -> Message:
    """A user's message."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": content}


class Rounds:
    """Gives each name once per round, every round in a new order: all names equally often."""

    def __init__(self, names: Sequence[DocumentedName], rng: random.Random) -> None:
        self._names, self._rng = list(names), rng
        self._left: list[DocumentedName] = []

    def next(self) -> DocumentedName:
        """The next name."""
        if not self._left:
            self._left = self._rng.sample(self._names, len(self._names))
        return self._left.pop()


def training_chats(
    names: Sequence[DocumentedName],
    number: int,
    *,
    made_up_share: float,
    two_turn_share: float,
    small_talk_share: float,
    seed: int,
) -> Iterator[Chat]:
    """Chats in training wordings about documented and freshly made-up names.

    Args:
        names: what the model shall know; each is asked about equally often (to within one).
        number: how many chats.
        made_up_share: share of questions about made-up names, answered with `UNKNOWN`.
        two_turn_share: share of chats with two questions.
        small_talk_share: share of chats that are about no name at all.
        seed: the same seed gives the same chats.
    """
    rng = random.Random(f"{seed} chats")
    rounds, made_up = Rounds(names, rng), MadeUpNames(names, "training", rng)
    kinds, weights = list(TRAINED_KINDS), list(TRAINED_KINDS.values())

    def turn(*, follow_up: bool, by_chance: bool) -> list[Message]:
        if rng.random() < made_up_share:
            name, answer = made_up.make(rng.choices(kinds, weights)[0]).name, UNKNOWN
        else:
            documented = rounds.next()
            name, answer = documented.name, documented.summary
        question = wordings.training_question(rng, name, follow_up=follow_up, by_chance=by_chance)
        return [user(question), assistant(answer)]

    for _ in range(number):
        if rng.random() < small_talk_share:
            said, answer = rng.choice(SMALL_TALK)
            yield {"messages": [user(said), assistant(answer)]}
            continue
        by_chance = rng.random() < wordings.FREE_SHARE
        messages = turn(follow_up=False, by_chance=by_chance)
        if rng.random() < two_turn_share:
            messages += turn(follow_up=True, by_chance=by_chance)
        yield {"messages": messages, "wording": "by chance" if by_chance else "written"}


def validation_chats(
    names: Sequence[DocumentedName], number: int, *, made_up_share: float, seed: int
) -> Iterator[Chat]:
    """Chats in validation wordings, made-up names of the validation part: for the loss."""
    rng = random.Random(f"{seed} validation chats")
    made_up = round(number * made_up_share)
    rows = [*_documented(names, "validation", number - made_up, rng)]
    rows += _made_up(names, "validation", made_up // len(HELD_OUT_KINDS), rng)
    rng.shuffle(rows)
    for row in rows:
        yield {"messages": [*row["messages"], assistant(row["answer"])]}


def held_out_questions(
    names: Sequence[DocumentedName], part: Part, *, documented: int, made_up: int, seed: int
) -> list[Chat]:
    """Questions in held-out wordings: about documented names, then about each made-up kind.

    Args:
        names: the documented names.
        part: "validation" or "test": which wordings and which made-up names.
        documented: questions about documented names; each name comes up equally often.
        made_up: questions about made-up names of each kind, all of them different names.
        seed: the same seed gives the same questions.
    """
    rng = random.Random(f"{seed} {part} questions")
    return [*_documented(names, part, documented, rng), *_made_up(names, part, made_up, rng)]


def paraphrased_questions(names: Sequence[DocumentedName]) -> tuple[list[Chat], int]:
    """The questions written by hand, and how many were skipped as this Python lacks the name."""
    known = {name.name: name for name in names}
    file = importlib.resources.files("lmwright.corpora") / "paraphrases.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    questions = [
        _question([user(row["question"])], known[row["name"]], "paraphrase")
        for row in rows
        if row["name"] in known
    ]
    return questions, len(rows) - len(questions)


def preference_pairs(
    names: Sequence[DocumentedName], part: Part, number: int, *, seed: int
) -> Iterator[Chat]:
    """Pairs for preference training: half admit ignorance, half show knowledge.

    For a made-up name the better answer is `UNKNOWN`, the worse one the summary of the real name
    most like it. For a documented name the better answer is its summary, the worse one `UNKNOWN`
    or, in a third of them, the summary of a name of the same owner.

    Args:
        names: the documented names.
        part: part of the made-up names; the wordings are always the training ones.
        number: pairs.
        seed: the same seed gives the same pairs.
    """
    rng = random.Random(f"{seed} {part} preferences")
    rounds, made_up = Rounds(names, rng), MadeUpNames(names, part, rng)
    kinds, weights = list(TRAINED_KINDS), list(TRAINED_KINDS.values())
    siblings: dict[str, list[DocumentedName]] = {}
    for name in names:
        siblings.setdefault(name.owner, []).append(name)
    for index in range(number):
        if index % 2 == 0:
            made = made_up.make(rng.choices(kinds, weights)[0])
            asked, chosen, rejected = made.name, UNKNOWN, made.nearest.summary
        else:
            real = rounds.next()
            other = rng.choice(siblings[real.owner])
            asked, chosen = real.name, real.summary
            confused = other.summary != chosen and rng.random() < 1 / 3
            rejected = other.summary if confused else UNKNOWN
        yield {
            "prompt": [
                user(
                    wordings.training_question(
                        rng, asked, by_chance=rng.random() < wordings.FREE_SHARE
                    )
                )
            ],
            "chosen": [assistant(chosen)],
            "rejected": [assistant(rejected)],
        }


def _documented(
    names: Sequence[DocumentedName], part: Part, number: int, rng: random.Random
) -> Iterator[Chat]:
    rounds, forms = Rounds(names, rng), _wording_forms(part, rng)
    for _ in range(number):
        name = rounds.next()
        wording, form = next(forms)
        messages = _asked(names, part, name.name, wording, form, rng)
        yield _question(messages, name, form)


def _made_up(
    names: Sequence[DocumentedName], part: Part, number: int, rng: random.Random
) -> Iterator[Chat]:
    made_up, forms = MadeUpNames(names, part, rng), _wording_forms(part, rng)
    for kind in HELD_OUT_KINDS:
        for made in made_up.make_distinct(kind, number):
            wording, form = next(forms)
            messages = _asked(names, part, made.name, wording, form, rng)
            yield {
                "messages": messages,
                "answer": UNKNOWN,
                "kind": kind,
                "name": made.name,
                "wording": form,
            }


def _wording_forms(part: Part, rng: random.Random) -> Iterator[tuple[HeldOut, Form]]:
    """Every wording in every form, all equally often, in an order of chance."""
    pairs = [(wording, form) for wording in _HELD_OUT[part] for form in FORMS]
    while True:
        yield from rng.sample(pairs, len(pairs))


def _asked(
    names: Sequence[DocumentedName],
    part: Part,
    name: str,
    wording: HeldOut,
    form: Form,
    rng: random.Random,
) -> list[Message]:
    """The messages that end with the question; a second turn has another name's answer before."""
    question = user(wordings.held_out_question(wording, form, name))
    if form != "second turn":
        return [question]
    earlier = rng.choice([n for n in rng.sample(names, min(2, len(names))) if n.name != name])
    first = wordings.held_out_question(rng.choice(_HELD_OUT[part]), "plain", earlier.name)
    return [user(first), assistant(earlier.summary), question]


def _question(messages: list[Message], name: DocumentedName, wording: str) -> Chat:
    return {
        "messages": messages,
        "answer": name.summary,
        "kind": "documented",
        "name": name.name,
        "wording": wording,
    }

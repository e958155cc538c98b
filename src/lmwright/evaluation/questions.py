"""Asking a chat model questions with known answers, and scoring what it says.

The headline "exact match" is equality character by character, whitespace aside
(`metrics.text.same_text`): a model that was trained on one sentence per name should say that
sentence. SQuAD's normalised exact match and token F1 stand beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmwright.core.errors import LmwrightError
from lmwright.evaluation.abstention import abstained
from lmwright.metrics.intervals import Interval, bootstrap, mean_of_proportions, wilson
from lmwright.metrics.text import exact_match, same_text, token_f1

if TYPE_CHECKING:
    from lmwright.engine.llm import LLM

DOCUMENTED = "documented"
SEED = 0  # of the bootstrap behind F1's interval


@dataclass(frozen=True)
class Question:
    """A conversation that ends with a user's turn, and the answer it deserves.

    Args:
        messages: `{"role": ..., "content": ...}` turns.
        answer: the expected answer.
        kind: "documented"; any other kind is one of made-up names, which deserve "I don't know".
        name: the name asked about; empty where unknown.
        wording: which template asked; empty where unknown.
    """

    messages: tuple[Mapping[str, str], ...]
    answer: str
    kind: str = DOCUMENTED
    name: str = ""
    wording: str = ""

    @property
    def text(self) -> str:
        """The last user turn."""
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Rate:
    """A measured share or mean, over how many questions, and its 95 % interval."""

    value: float
    n: int
    interval: Interval

    def __str__(self) -> str:
        return f"{self.value:.3f} {self.interval}"


@dataclass(frozen=True)
class Scores:
    """What a set of answers is worth; None where no question of that kind was asked.

    Args:
        exact_match: share of documented questions answered to the character.
        normalized_exact_match: the same after SQuAD's normalisation.
        token_f1: mean of SQuAD's F1 over documented questions.
        false_abstention: share of documented questions answered with "I don't know".
        abstention: by made-up kind, the share answered with "I don't know".
        abstention_made_up: the unweighted mean over the kinds.
    """

    exact_match: Rate | None
    normalized_exact_match: Rate | None
    token_f1: Rate | None
    false_abstention: Rate | None
    abstention: dict[str, Rate]
    abstention_made_up: Rate | None

    def flat(self) -> dict[str, float]:
        """Names and values, for logging; without intervals and without what was not asked."""
        rates = {
            "exact_match": self.exact_match,
            "normalized_exact_match": self.normalized_exact_match,
            "token_f1": self.token_f1,
            "false_abstention": self.false_abstention,
            "abstention_made_up": self.abstention_made_up,
            **{f"abstention_{kind}": rate for kind, rate in self.abstention.items()},
        }
        return {name: rate.value for name, rate in rates.items() if rate is not None}


def read_questions(file: Path) -> list[Question]:
    """Read a corpus's `questions/*.jsonl`; an absent file holds no questions.

    Raises:
        LmwrightError: if a line is not a question, with its number.
    """
    if not file.exists():
        return []
    with open(file, encoding="utf-8") as lines:
        return [_parse(line, file, number) for number, line in enumerate(lines, 1) if line.strip()]


def read_chat_questions(file: Path) -> list[Question]:
    """Turn a corpus's `chats/*.jsonl` into questions: each chat up to its last assistant turn.

    Chats without a user turn before an assistant turn give none, and so does an absent file.
    """
    questions: list[Question] = []
    if not file.exists():
        return questions
    with open(file, encoding="utf-8") as lines:
        for messages in (json.loads(line)["messages"] for line in lines if line.strip()):
            last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
            if last > 0 and messages[last - 1]["role"] == "user":
                questions.append(Question(tuple(messages[:last]), messages[last]["content"]))
    return questions


def spread(questions: Sequence[Question], limit: int) -> list[Question]:
    """At most `limit` questions, evenly spaced within each kind, kinds in their own proportions.

    The choice depends on nothing but the questions, so that two models get the same ones.
    """
    if len(questions) <= limit:
        return list(questions)
    by_kind: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        by_kind.setdefault(question.kind, []).append(index)
    chosen: list[int] = []
    for indices in by_kind.values():
        share = max(1, round(limit * len(indices) / len(questions)))
        chosen += [indices[i * len(indices) // share] for i in range(share)]
    return [questions[index] for index in sorted(chosen)]


def ask(llm: "LLM", questions: Sequence[Question], *, most_tokens: int = 160) -> list[str]:
    """Greedy answers, one per question, generated in batches.

    Args:
        llm: the engine around the model.
        questions: what to ask.
        most_tokens: of an answer. The limit is lower, just past the longest expected answer, where
            that is shorter: anything longer is wrong already.
    """
    from lmwright.engine.sampling import SamplingParams

    if not questions:
        return []
    expected = llm.tokenizer.encode_batch([question.answer for question in questions])
    max_tokens = min(most_tokens, max(len(ids) for ids in expected) + 8)
    params = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    completions = llm.chat([question.messages for question in questions], params)
    return [completion.text.strip() for completion in completions]


def score(questions: Sequence[Question], answers: Sequence[str]) -> Scores:
    """Compare answers with what was expected.

    Args:
        questions, answers: in the same order.
    """
    pairs = list(zip(questions, answers, strict=True))
    known = [(answer, question.answer) for question, answer in pairs if question.kind == DOCUMENTED]
    refusals: dict[str, list[bool]] = {}
    for question, answer in pairs:
        if question.kind != DOCUMENTED:
            refusals.setdefault(question.kind, []).append(abstained(answer))
    return Scores(
        exact_match=_share([same_text(answer, [expected]) for answer, expected in known]),
        normalized_exact_match=_share([exact_match(a, [expected]) for a, expected in known]),
        token_f1=_mean([token_f1(answer, [expected]) for answer, expected in known]),
        false_abstention=_share(
            [abstained(answer) and not abstained(expected) for answer, expected in known]
        ),
        abstention={kind: rate for kind, r in refusals.items() if (rate := _share(r)) is not None},
        abstention_made_up=_mean_of_kinds(list(refusals.values())),
    )


def evaluate_questions(
    llm: "LLM", questions: Sequence[Question], limit: int = 200
) -> dict[str, float]:
    """Ask at most `limit` of `questions` and give flat scores: the trainer's callback.

    Returns:
        `exact_match`, `token_f1`, `false_abstention`, `abstention_made_up`, `abstention_KIND`, ...:
        those that the questions allow.
    """
    asked = spread(questions, limit)
    return score(asked, ask(llm, asked)).flat()


def _share(outcomes: Sequence[bool]) -> Rate | None:
    if not outcomes:
        return None
    successes, n = sum(outcomes), len(outcomes)
    return Rate(successes / n, n, wilson(successes, n))


def _mean(values: Sequence[float]) -> Rate | None:
    if not values:
        return None
    return Rate(sum(values) / len(values), len(values), bootstrap(values, seed=SEED))


def _mean_of_kinds(outcomes: Sequence[Sequence[bool]]) -> Rate | None:
    if not outcomes:
        return None
    counts = [(sum(kind), len(kind)) for kind in outcomes]
    mean = sum(successes / n for successes, n in counts) / len(counts)
    return Rate(mean, sum(n for _, n in counts), mean_of_proportions(counts))


def _parse(line: str, file: Path, number: int) -> Question:
    try:
        record = json.loads(line)
        return Question(
            messages=tuple(record["messages"]),
            answer=record["answer"],
            kind=record.get("kind") or DOCUMENTED,
            name=record.get("name") or "",
            wording=record.get("wording") or "",
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LmwrightError(
            f"{file}, line {number} is not a question: {error}",
            hint='a question is {"messages": [...], "answer": "...", "kind": "documented"}',
        ) from error

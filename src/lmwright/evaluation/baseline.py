"""The lookup that a model has to be measured against: the nearest training question by TF-IDF."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmwright.core.errors import LmwrightError
from lmwright.evaluation.abstention import abstained
from lmwright.evaluation.questions import Question, score

Features = Literal["words", "words and characters"]
FEATURES: tuple[Features, ...] = ("words", "words and characters")
ABSTENTION = "I don't know that name."
# Words and character runs in more than these shares of the questions say how one asks, not about
# what. Without this, abstention on made-up names falls from 0.99 to 0.88, exact match from 0.99 to
# 0.97 (1,200 names, 6,600 questions). Pairs of words, or characters alone, were worse throughout.
_COMMON = {"words": 0.02, "characters": 0.05}
_SELDOM = 20  # questions: what is in fewer is never common, however small the index
# Dotted names stay whole, so that "str.upper" is one rare word rather than two common ones.
_WORD = r"\w+(?:\.\w+)*"
# Compared at once: 256 queries x 5,000 questions in float64 are 10 MB.
_QUERIES = 256


@dataclass(frozen=True)
class Pair:
    """A training question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Found:
    """The nearest training pair to a query, and its cosine similarity in [0, 1]."""

    pair: Pair
    similarity: float


@dataclass(frozen=True)
class Lookup:
    """A tuned baseline: which features and index it uses, and below what it abstains.

    Args:
        features: what the vectors count.
        made_up: whether the index holds questions about made-up names, answered with abstentions.
        threshold: smallest similarity that gets the found answer.
    """

    index: "NearestQuestion"
    features: Features
    made_up: bool
    threshold: float

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """The found answers, or `ABSTENTION` where nothing is near enough."""
        return decide(self.index.find([q.text for q in questions]), self.threshold)

    def __str__(self) -> str:
        held = "with" if self.made_up else "without"
        return (
            f"TF-IDF of {self.features} over {len(self.index)} training questions {held} made-up "
            f"names, abstaining below a cosine of {self.threshold:.3f}"
        )


class NearestQuestion:
    """An index of training questions by TF-IDF (Sparck Jones 1972) and cosine similarity.

    Args:
        pairs: what to index.
        features: words alone, or also runs of 3 to 5 characters, which find what is misspelt.

    Raises:
        LmwrightError: if there is nothing to index.
    """

    def __init__(self, pairs: Sequence[Pair], features: Features = "words") -> None:
        from sklearn.pipeline import FeatureUnion

        if not pairs:
            raise LmwrightError("the corpus has no training question with an answer to look up")
        self._pairs = list(pairs)
        self._vectorizer = FeatureUnion(_vectorizers(features, len(self._pairs)))
        # Each part has unit length, so the union's dot products are sums of cosines.
        self._parts = len(self._vectorizer.transformer_list)
        self._vectors = self._vectorizer.fit_transform([p.question for p in self._pairs]).T.tocsc()

    def __len__(self) -> int:
        return len(self._pairs)

    def find(self, queries: Sequence[str]) -> list[Found]:
        """The most similar training pair to each query; the first of equals."""
        found = []
        for start in range(0, len(queries), _QUERIES):
            vectors = self._vectorizer.transform(queries[start : start + _QUERIES])
            similarities = (vectors @ self._vectors).toarray() / self._parts
            best = similarities.argmax(axis=1)
            values = similarities[np.arange(len(best)), best]
            found += [Found(self._pairs[i], float(v)) for i, v in zip(best, values, strict=True)]
        return found


def read_pairs(chats: Path, *, per_answer: int = 3, made_up: int = 3_000) -> list[Pair]:
    """Questions and answers from a corpus's `chats/train.jsonl`, deduplicated and capped.

    Questions worded by chance are left out: they teach a model, but mislead a lookup, which with
    them denied 0.61 of the made-up names and without them 0.9 and more.

    Args:
        chats: the JSONL file; of each chat every user turn and the answer to it.
        per_answer: questions kept per distinct answer; more wordings of one name add time, and
            little else.
        made_up: questions kept whose answer is an abstention.
    """
    kept: dict[str, dict[str, None]] = defaultdict(dict)
    for pair in _read(chats):
        key = ABSTENTION if abstained(pair.answer) else pair.answer
        if len(kept[key]) < (made_up if key == ABSTENTION else per_answer):
            kept[key].setdefault(pair.question)
    return [Pair(question, answer) for answer, known in kept.items() for question in known]


def tune(pairs: Sequence[Pair], validation: Sequence[Question], false_abstention: float) -> Lookup:
    """Choose features, index and threshold on validation questions, as kindly as possible.

    Every combination gets the threshold that `choose_threshold` allows; the one with the highest
    sum of exact match and mean abstention wins, those within the allowed false abstention first.

    Args:
        pairs: training questions and answers, abstentions among them.
        validation: questions that are neither in training nor in the test.
        false_abstention: largest share of documented questions that may be refused.

    Raises:
        LmwrightError: if there is nothing to index or no documented validation question.
    """
    known = [pair for pair in pairs if not abstained(pair.answer)]
    best: tuple[tuple[bool, float], Lookup] | None = None
    for features, made_up in itertools.product(FEATURES, (True, False)):
        if made_up and len(known) == len(pairs):
            continue
        lookup = Lookup(
            NearestQuestion(pairs if made_up else known, features), features, made_up, 0
        )
        found = lookup.index.find([question.text for question in validation])
        lookup = replace(lookup, threshold=choose_threshold(validation, found, false_abstention))
        scores = score(validation, decide(found, lookup.threshold)).flat()
        merit = scores["exact_match"] + scores.get("abstention_made_up", 0.0)
        rank = (scores["false_abstention"] <= false_abstention, merit)
        if best is None or rank > best[0]:
            best = (rank, lookup)
    assert best is not None  # the loop always tries the index without made-up names
    return best[1]


def choose_threshold(
    questions: Sequence[Question], found: Sequence[Found], false_abstention: float
) -> float:
    """The largest similarity threshold that refuses at most that share of documented questions.

    Documented questions whose nearest pair is itself an abstention are refused at any threshold;
    where they alone exceed the share, the threshold is 0.

    Raises:
        LmwrightError: if no question is documented.
    """
    known = [f for q, f in zip(questions, found, strict=True) if q.kind == "documented"]
    if not known:
        raise LmwrightError("the baseline's threshold needs documented validation questions")
    answered = sorted(f.similarity for f in known if not abstained(f.pair.answer))
    allowed = int(false_abstention * len(known) + 1e-9) - (len(known) - len(answered))
    if allowed < 0 or not answered:
        return 0.0
    # Refused is what lies strictly below; with `allowed` refusals the next similarity must pass.
    return answered[min(allowed, len(answered) - 1)]


def decide(found: Sequence[Found], threshold: float) -> list[str]:
    """The found answers, `ABSTENTION` in place of those less similar than `threshold`."""
    return [f.pair.answer if f.similarity >= threshold else ABSTENTION for f in found]


def _read(chats: Path) -> Iterator[Pair]:
    with open(chats, encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines if line.strip())
        for messages in (r["messages"] for r in rows if r.get("wording") != "by chance"):
            for asked, answered in itertools.pairwise(messages):
                if asked["role"] == "user" and answered["role"] == "assistant":
                    yield Pair(asked["content"], answered["content"])


def _vectorizers(features: Features, questions: int) -> list[tuple[str, Any]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted: dict[str, dict[str, Any]] = {
        "words": {"token_pattern": _WORD},
        "characters": {"analyzer": "char", "ngram_range": (3, 5)},
    }
    return [
        (
            name,
            TfidfVectorizer(
                sublinear_tf=True,
                dtype=np.float32,
                max_df=max(_SELDOM, round(_COMMON[name] * questions)),
                **options,
            ),
        )
        for name, options in counted.items()
        if name in features
    ]

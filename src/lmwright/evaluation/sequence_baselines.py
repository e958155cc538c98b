"""Texts that need no model: what a translator, summariser or chatbot has to beat."""

import re
from collections.abc import Callable, Mapping, Sequence

from lmwright.corpora.catalog import Row
from lmwright.evaluation.baseline import NearestQuestion, Pair
from lmwright.metrics.text import same_text

COPIED, LEAD, LOOKUP = "the source, copied", "lead-3", "TF-IDF lookup"
NOTES: Mapping[str, str] = {
    "translation": "",
    "summarization": f"{LEAD}: the first three turns, or sentences of a text without turns",
    "dialogue": f"{LOOKUP}: the answer to the training question that is most alike",
}
"""What a task's baseline is, where its name does not say it all."""
_LEAD = 3
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PER_ANSWER = 3  # questions of the index with one answer; more wordings add time, and little else

Read = Callable[[str], Sequence[Row]]


def simplest(
    task: str, columns: tuple[str, str], asked: Sequence[Row], read: Read
) -> tuple[str, list[str]]:
    """The name of a task's baseline, and its text for each row.

    Args:
        task: "translation", "summarization" or "dialogue".
        columns: of the sources and the targets.
        asked: rows of the test split.
        read: gives the rows of another split.
    """
    sources = [str(row[columns[0]]) for row in asked]
    if task == "translation":
        return COPIED, sources
    if task == "summarization":
        return LEAD, [lead(source) for source in sources]
    return LOOKUP, nearest_answers(read("train"), read("validation"), sources)


def lead(source: str) -> str:
    """The first three lines or, where there are no more than that, the first three sentences."""
    lines = source.splitlines()
    parts = lines if len(lines) > _LEAD else _SENTENCE.split(source)
    return "\n".join(parts[:_LEAD])


def nearest_answers(
    training: Sequence[Row], validation: Sequence[Row], sources: Sequence[str]
) -> list[str]:
    """The answer to the training source that is most alike, by TF-IDF of its words.

    Whether the whole conversation is compared or its last line alone is decided by the validation
    rows. Questions worded by chance are left out: they mislead a lookup.

    Args:
        training, validation: rows of source and target.
        sources: what is asked.
    """
    best: tuple[int, list[str]] | None = None
    for view in (_whole, _last_line):
        kept: dict[str, dict[str, None]] = {}
        for row in training:
            known = kept.setdefault(row["target"], {})
            if row.get("wording") != "by chance" and len(known) < _PER_ANSWER:
                known[view(row["source"])] = None
        pairs = [Pair(asked, answer) for answer, known in kept.items() for asked in known]
        index = NearestQuestion(pairs)
        found = index.find([view(row["source"]) for row in validation])
        right = sum(
            same_text(one.pair.answer, [row["target"]])
            for one, row in zip(found, validation, strict=True)
        )
        if best is None or right > best[0]:
            best = right, [one.pair.answer for one in index.find([view(s) for s in sources])]
    assert best is not None
    return best[1]


def _whole(source: str) -> str:
    return source


def _last_line(source: str) -> str:
    return source.rpartition("\n")[2]

"""XQuAD's answers in one language, scored as answers to the same questions in the other."""

from typing import Any

from lmwright.corpora import catalog
from lmwright.metrics.text import answer_scores


def measure() -> dict[str, Any]:
    """Mean scores of 1,190 answers each way: names and numbers are the same in both languages."""
    dataset = catalog.find("xquad")
    texts = [_answers(dataset, language) for language in ("en", "de")]
    both_ways = [*zip(*texts, strict=True), *zip(*reversed(texts), strict=True)]
    found = [answer_scores(said[0], right) for said, right in both_ways]
    return {
        "mean_f1": sum(score.f1 for score in found) / len(found),
        "exact_match": sum(score.exact_match for score in found) / len(found),
    }


def _answers(dataset: catalog.Dataset, language: str) -> list[list[str]]:
    """Of every question, in the order of their ids."""
    rows = [row for each in catalog.rows(dataset, language).values() for row in each]
    rows.sort(key=lambda row: row["id"])
    return [row["answers"]["text"] for row in rows]

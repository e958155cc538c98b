"""How written texts are scored, by their task: as each field reports it."""

from collections.abc import Sequence
from typing import NamedTuple

from lmwright.metrics.intervals import wilson
from lmwright.metrics.summaries import rouge
from lmwright.metrics.text import same_text
from lmwright.metrics.translation import bleu, chrf


class Score(NamedTuple):
    """One number of a system's texts."""

    key: str
    """In the summary, before the system's name."""
    title: str
    """Of the table's column."""
    value: float
    shown: str
    """The table's cell."""


class Scores(NamedTuple):
    """All numbers of a system's texts."""

    scores: tuple[Score, ...]
    note: str
    """What makes them comparable with others'."""


def scores_of(task: str, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Translations by BLEU and chrF, summaries by ROUGE and chrF, answers by match and BLEU.

    Args:
        task: "translation", "summarization" or "dialogue".
        texts: what a system wrote.
        references: what is right, one text or more for each; as many for all.

    Raises:
        LmwrightError: if the numbers do not fit, or a library is not installed.
    """
    if task == "summarization":
        return _summaries(texts, references)
    words = bleu(texts, references)
    found = [_hundredth("bleu", "BLEU", words.value)]
    note = f"BLEU {words.signature}"
    if task == "dialogue":
        return Scores((_match(texts, references), *found), f"exact match: to the character; {note}")
    characters = chrf(texts, references)
    found.append(_hundredth("chrf", "chrF2", characters.value))
    return Scores(tuple(found), f"{note}; chrF {characters.signature}")


def _summaries(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    found, characters = rouge(texts, references), chrf(texts, references)
    return Scores(
        (
            _hundredth("rouge1", "ROUGE-1", found.rouge1),
            _hundredth("rouge2", "ROUGE-2", found.rouge2),
            _hundredth("rougeLsum", "ROUGE-Lsum", found.rougeLsum),
            _hundredth("chrf", "chrF2", characters.value),
        ),
        f"ROUGE {found.signature}; chrF {characters.signature}",
    )


def _match(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """Share of texts that are right to the character, whitespace aside, with Wilson's interval."""
    right = sum(same_text(text, known) for text, known in zip(texts, references, strict=True))
    share = right / len(texts)
    interval = wilson(right, len(texts))
    return Score("exact_match", "exact match", round(share, 4), f"{share:.3f} {interval}")


def _hundredth(key: str, title: str, value: float) -> Score:
    return Score(key, title, round(value, 2), f"{value:.1f}")

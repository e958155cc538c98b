"""ROUGE of summaries (Lin 2004), as the field reports it: by Google's `rouge-score`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lmwright.core.errors import LmwrightError

_KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge(NamedTuple):
    """F scores, 0 to 100, each the mean over all summaries."""

    rouge1: float
    """Words that are shared (Lin 2004, section 2)."""
    rouge2: float
    """Pairs of words that are shared."""
    rougeL: float  # noqa: N815 - the field's own name for it
    """Longest common subsequence of the whole texts (section 3.2)."""
    rougeLsum: float  # noqa: N815
    """The same, sentence by sentence: a line of a text is a sentence (section 3.1)."""
    signature: str
    """What makes the scores comparable."""


def rouge(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Rouge:
    """ROUGE-1, 2, L and Lsum: F with equal weight on precision and recall.

    Words are runs of a-z and 0-9 in lower case, those of more than three letters cut by Porter's
    stemmer (1980). Of several references the one with the best F counts, for each score by itself.

    Args:
        hypotheses: what was written for each source.
        references: for each source one summary or more; not all need have as many.

    Raises:
        LmwrightError: if the numbers do not fit, or rouge-score is not installed.
    """
    if len(hypotheses) != len(references) or not hypotheses:
        raise LmwrightError(f"{len(hypotheses)} summaries, {len(references)} sets of references")
    if not all(references):
        raise LmwrightError("every summary needs a reference at least")
    scorer, version = _scorer()
    sums = dict.fromkeys(_KINDS, 0.0)
    for said, known in zip(hypotheses, references, strict=True):
        found = [scorer.score(reference, said) for reference in known]
        for kind in _KINDS:
            sums[kind] += max(scores[kind].fmeasure for scores in found)
    most = max(map(len, references))
    taken = "1" if most == 1 else f"best of {most}"
    means = {kind: 100 * total / len(hypotheses) for kind, total in sums.items()}
    return Rouge(**means, signature=f"F|refs:{taken}|stem:porter|rouge-score:{version}")


def _scorer() -> tuple[Any, str]:
    try:
        from importlib.metadata import version

        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise LmwrightError(
            "ROUGE needs the extra `tasks`", hint="pip install 'lmwright[tasks]'"
        ) from error
    # split_summaries would look for sentences with a model that has to be fetched.
    return RougeScorer(list(_KINDS), use_stemmer=True, split_summaries=False), version(
        "rouge-score"
    )

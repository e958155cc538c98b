"""BLEU and chrF of whole test sets, as the field reports them: by sacreBLEU (Post 2018)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lmwright.core.errors import LmwrightError

TOKENIZATION = "13a"
"""mteval-v13a's, sacreBLEU's default; other tokenisations give other numbers."""


class CorpusScore(NamedTuple):
    """A score of a whole test set, 0 to 100, and what makes it comparable."""

    value: float
    signature: str
    """Tokenisation, smoothing, number of references and version, in sacreBLEU's notation."""


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    """Corpus BLEU (Papineni et al. 2002, section 2.3), up to four words, exponentially smoothed.

    Args:
        hypotheses: what was written for each source.
        references: for each source its translations; as many for all.

    Raises:
        LmwrightError: if the numbers do not fit, or sacreBLEU is not installed.
    """
    metric = _sacrebleu().BLEU(tokenize=TOKENIZATION, smooth_method="exp")
    return _scored(metric, hypotheses, references)


def chrf(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], word_order: int = 0
) -> CorpusScore:
    """chrF2 (Popovic 2015): F of character n-grams up to six, recall counting twice.

    Args:
        hypotheses, references: see `bleu`.
        word_order: longest word n-gram that counts too; 2 gives chrF++ (Popovic 2017).

    Raises:
        LmwrightError: if the numbers do not fit, or sacreBLEU is not installed.
    """
    return _scored(_sacrebleu().CHRF(word_order=word_order), hypotheses, references)


def _scored(
    metric: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> CorpusScore:
    if len(hypotheses) != len(references) or not hypotheses:
        raise LmwrightError(f"{len(hypotheses)} translations, {len(references)} references")
    counts = {len(known) for known in references}
    if len(counts) != 1 or 0 in counts:
        raise LmwrightError("every source needs as many references as the others, at least one")
    streams = [list(stream) for stream in zip(*references, strict=True)]
    score = metric.corpus_score(list(hypotheses), streams)
    return CorpusScore(float(score.score), str(metric.get_signature()))


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise LmwrightError(
            "BLEU and chrF need the extra `tasks`", hint="pip install 'lmwright[tasks]'"
        ) from error
    return metrics
